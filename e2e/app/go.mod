module bellwether.dev/e2e/app

go 1.26

require github.com/coder/websocket v1.8.15
