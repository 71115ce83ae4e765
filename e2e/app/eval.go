package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"
)

const evalHelp = `app eval: asks the Service of one revision so many questions, and scores the answers.

The score is the share of answers with status 200. It is written to -out as {"score": 0.93}, where whoever runs this as a
Job reads it. The Service is that of BELLWETHER_SERVICE and BELLWETHER_PORT. With -least it ends with exit code 1 when the
score is lower.

`

func eval(args []string) error {
	flags := flag.NewFlagSet("eval", flag.ExitOnError)
	flags.Usage = func() { fmt.Fprint(flags.Output(), evalHelp); flags.PrintDefaults() }
	questions := flags.Int("questions", 200, "how many")
	least := flags.Float64("least", 0, "the lowest score that is good")
	out := flags.String("out", "/dev/termination-log", "file that gets the score")
	flags.Parse(args)
	service, port := os.Getenv("BELLWETHER_SERVICE"), os.Getenv("BELLWETHER_PORT")
	if flags.NArg() > 0 || *questions < 1 || service == "" || port == "" {
		return errors.New("-questions must be above 0, there are no other arguments, and BELLWETHER_SERVICE and BELLWETHER_PORT must be set")
	}
	score := evaluate(fmt.Sprintf("http://%s:%s/", service, port), *questions)
	text, err := json.Marshal(map[string]float64{"score": score})
	if err != nil {
		return err
	}
	fmt.Printf("%s: %s\n", service, text)
	if err := os.WriteFile(*out, text, 0o644); err != nil {
		return err
	}
	if score < *least {
		return fmt.Errorf("a score of %g is below %g", score, *least)
	}
	return nil
}

func evaluate(url string, questions int) float64 {
	client := &http.Client{Timeout: answerTimeout}
	good := 0
	for range questions {
		answer, err := client.Get(url)
		if err != nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		answer.Body.Close()
		if answer.StatusCode == http.StatusOK {
			good++
		}
	}
	return float64(good) / float64(questions)
}
