module bellwether.dev/e2e/argocd

go 1.26

require (
	github.com/yuin/gopher-lua v1.1.2 // the interpreter that Argo CD has
	go.yaml.in/yaml/v3 v3.0.6 // the YAML organization's: reads the ConfigMap
)
