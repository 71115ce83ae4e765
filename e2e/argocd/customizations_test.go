// Package argocd runs what crds/examples/argocd-cm.yaml tells Argo CD, in the interpreter that Argo CD has and with no more
// of Lua's libraries than Argo CD gives.
package argocd

import (
	"os"
	"reflect"
	"regexp"
	"testing"
	"time"

	lua "github.com/yuin/gopher-lua"
	"go.yaml.in/yaml/v3"
)

type object = map[string]any

// actions is what stands under resource.customizations.actions.
type actions struct {
	Discovery   string `yaml:"discovery.lua"`
	Definitions []struct {
		Name   string `yaml:"name"`
		Action string `yaml:"action.lua"`
	} `yaml:"definitions"`
}

func customizations(t *testing.T) (health string, found actions) {
	t.Helper()
	text, err := os.ReadFile("../../crds/examples/argocd-cm.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Data map[string]string `yaml:"data"`
	}
	if err := yaml.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal([]byte(config.Data["resource.customizations.actions.bellwether.dev_Rollout"]), &found); err != nil {
		t.Fatal(err)
	}
	return config.Data["resource.customizations.health.bellwether.dev_Rollout"], found
}

// run gives the object to a script, and what the script returns.
func run(t *testing.T, script string, obj object) any {
	t.Helper()
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{
		lua.LoadLibName: lua.OpenPackage, lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable,
	} {
		if err := state.CallByParam(lua.P{Fn: state.NewFunction(open), Protect: true}, lua.LString(name)); err != nil {
			t.Fatal(err)
		}
	}
	state.PreloadModule(lua.OsLibName, func(state *lua.LState) int {
		state.Push(state.SetFuncs(state.NewTable(), map[string]lua.LGFunction{"date": func(state *lua.LState) int {
			if state.CheckString(1) != "!%Y%m%d%H%M%S" {
				t.Fatal("this test knows one format of dates")
			}
			state.Push(lua.LString(time.Now().UTC().Format("20060102150405")))
			return 1
		}}))
		return 1
	})
	state.SetGlobal("obj", toLua(state, obj))
	if err := state.DoString(script); err != nil {
		t.Fatal(err)
	}
	return fromLua(state.Get(-1))
}

func toLua(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case string:
		return lua.LString(value)
	case bool:
		return lua.LBool(value)
	case int:
		return lua.LNumber(value)
	case []any:
		table := state.NewTable()
		for _, item := range value {
			table.Append(toLua(state, item))
		}
		return table
	case object:
		table := state.NewTable()
		for name, field := range value {
			table.RawSetString(name, toLua(state, field))
		}
		return table
	}
	return lua.LNil
}

func fromLua(value lua.LValue) any {
	switch value := value.(type) {
	case lua.LBool:
		return bool(value)
	case lua.LString:
		return string(value)
	case *lua.LTable:
		if length := value.Len(); length > 0 {
			list := make([]any, 0, length)
			for at := 1; at <= length; at++ {
				list = append(list, fromLua(value.RawGetInt(at)))
			}
			return list
		}
		fields := object{}
		value.ForEach(func(name, field lua.LValue) { fields[name.String()] = fromLua(field) })
		return fields
	}
	return nil
}

func conditions(holds string, generation int) []any {
	var list []any
	for _, name := range []string{"Ready", "Reconciling", "Stalled"} {
		status := "False"
		if name == holds {
			status = "True"
		}
		list = append(list, object{"type": name, "status": status, "observedGeneration": generation})
	}
	return list
}

func rollout(status object) object {
	about := object{"name": "checkout", "namespace": "shop", "uid": "u-1", "generation": 3}
	return object{"apiVersion": "bellwether.dev/v1alpha1", "kind": "Rollout", "metadata": about, "status": status}
}

func TestHealth(t *testing.T) {
	health, _ := customizations(t)
	for _, story := range []struct {
		status object
		wanted string
	}{
		{object{"phase": "Stable", "conditions": conditions("Ready", 3)}, "Healthy"},
		{object{"phase": "Stable", "conditions": conditions("Ready", 2)}, "Progressing"},
		{object{"phase": "Progressing", "conditions": conditions("Reconciling", 3)}, "Progressing"},
		{object{"phase": "Waiting", "conditions": conditions("Reconciling", 3)}, "Progressing"},
		{object{"phase": "Paused", "conditions": conditions("Reconciling", 3)}, "Suspended"},
		{object{"phase": "AwaitingApproval", "conditions": conditions("Reconciling", 3)}, "Suspended"},
		{object{"phase": "Aborted", "conditions": conditions("Stalled", 3)}, "Degraded"},
		{object{"phase": "Invalid", "conditions": conditions("Stalled", 3)}, "Degraded"},
		{nil, "Progressing"},
	} {
		if story.status != nil {
			story.status["message"] = "said"
		}
		obj := rollout(story.status)
		said := "said"
		if story.status == nil {
			delete(obj, "status")
			said = "the operator has not looked at it yet"
		}
		if found := run(t, health, obj); !reflect.DeepEqual(found, object{"status": story.wanted, "message": said}) {
			t.Errorf("%v: %v", story.status, found)
		}
	}
}

func TestActionsAreOfferedWhereTheyMeanSomething(t *testing.T) {
	_, found := customizations(t)
	flight, latch := object{"revision": "abc"}, object{"revision": "abc"}
	for phase, story := range map[string]struct {
		status  object
		offered []string
	}{
		"at rest":  {object{"phase": "Stable"}, nil},
		"on trial": {object{"phase": "Progressing", "flight": flight}, []string{"abort", "pause", "promote", "promote-full"}},
		"paused":   {object{"phase": "Paused", "flight": flight}, []string{"abort", "promote", "promote-full", "resume"}},
		"paused, and short of pods": {
			object{"phase": "Waiting", "flight": object{"revision": "abc", "paused": true}}, []string{"abort", "promote", "promote-full", "resume"},
		},
		"given up, and stable is sick": {
			object{"phase": "Waiting", "flight": flight, "latch": latch, "waitingFor": []any{object{"reason": "StableShrunk"}}},
			[]string{"promote-full", "retry"},
		},
		"given up": {object{"phase": "Aborted", "latch": latch}, []string{"retry"}},
	} {
		known := run(t, found.Discovery, rollout(story.status)).(object)
		offered := map[string]bool{}
		for _, name := range story.offered {
			offered[name] = true
		}
		for _, definition := range found.Definitions {
			if disabled := known[definition.Name].(object)["disabled"]; disabled == offered[definition.Name] {
				t.Errorf("%s: %s is disabled: %v", phase, definition.Name, disabled)
			}
		}
		if len(known) != len(found.Definitions) {
			t.Errorf("%d actions are offered, %d are defined", len(known), len(found.Definitions))
		}
	}
}

func TestAnActionSaysWhatWasSeen(t *testing.T) {
	_, found := customizations(t)
	wanted := map[string]struct {
		action string
		expect object
	}{
		"promote":      {"Promote", object{"revision": "abc", "step": "half"}},
		"promote-full": {"PromoteFull", object{"revision": "abc", "step": "half"}},
		"abort":        {"Abort", object{"revision": "abc"}},
		"pause":        {"Pause", object{"revision": "abc"}},
		"resume":       {"Resume", object{"revision": "abc", "step": "half"}},
		"retry":        {"Retry", object{"revision": "abc", "step": "half"}},
	}
	stamped := regexp.MustCompile(`^checkout-([a-z-]+)-\d{14}$`)
	for _, definition := range found.Definitions {
		seen := rollout(object{"flight": object{"revision": "abc"}, "step": object{"name": "half"}})
		made := run(t, definition.Action, seen).([]any)[0].(object)
		resource := made["resource"].(object)
		about := resource["metadata"].(object)
		name := stamped.FindStringSubmatch(about["name"].(string))
		if name == nil || name[1] != definition.Name || made["operation"] != "create" {
			t.Errorf("%s: %v", definition.Name, made)
		}
		delete(about, "name")
		owner := object{"apiVersion": "bellwether.dev/v1alpha1", "kind": "Rollout", "name": "checkout", "uid": "u-1"}
		spec := object{"rollout": "checkout", "action": wanted[definition.Name].action, "expect": wanted[definition.Name].expect}
		whole := object{
			"apiVersion": "bellwether.dev/v1alpha1", "kind": "RolloutAction", "spec": spec,
			"metadata": object{"namespace": "shop", "ownerReferences": []any{owner}},
		}
		if !reflect.DeepEqual(resource, whole) {
			t.Errorf("%s: %v", definition.Name, resource)
		}
	}
	if len(found.Definitions) != len(wanted) {
		t.Errorf("%d actions", len(found.Definitions))
	}
}
