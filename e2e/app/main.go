// Command app is what the end-to-end tests roll out and what they measure it with:
//
//	app [serve]   the workload: an HTTP server that misbehaves as its environment says
//	app load      a load generator that hides no lost request
//	app sink      a receiver of signed webhooks
//	app eval      an evaluation of a revision, for a Job
//	app past      a page of metrics with an hour that is over
//
// `app MODE --help` tells more of each.
package main

import (
	"fmt"
	"os"
)

func main() {
	mode, args := "serve", os.Args[1:]
	if len(args) > 0 {
		mode, args = args[0], args[1:]
	}
	var err error
	switch mode {
	case "serve":
		err = serve(args)
	case "load":
		err = load(args)
	case "sink":
		err = sink(args)
	case "eval":
		err = eval(args)
	case "past":
		err = past(args)
	default:
		err = fmt.Errorf("no such mode: %s (there are serve, load, sink, eval and past)", mode)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "app:", err)
		os.Exit(1)
	}
}
