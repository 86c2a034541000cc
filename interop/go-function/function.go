// A function as its author writes it with the Pulsar Go function SDK: nothing here knows of Geminga.
//
// A message says what to do, so that one function shows all of the contract.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/apache/pulsar-client-go/pulsar"
	log "github.com/apache/pulsar/pulsar-function-go/logutil"
	"github.com/apache/pulsar/pulsar-function-go/pf"
)

func handle(ctx context.Context, input []byte) ([]byte, error) {
	verb, rest, _ := strings.Cut(string(input), " ")
	fc, ok := pf.FromContext(ctx)
	if !ok {
		return nil, errors.New("no context")
	}
	if verb == "once" {
		// The directory of an instance stays when it starts again.
		marker, err := os.OpenFile("seen "+rest, os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return []byte(rest + ", at last"), nil
		}
		marker.Close()
		verb, rest, _ = strings.Cut(rest, " ")
	}
	switch verb {
	case "fail":
		return nil, errors.New("I cannot " + rest)
	case "crash":
		fmt.Fprintln(os.Stderr, "about to crash")
		os.Exit(3)
	case "panic":
		panic("at the disco")
	case "log":
		log.Info(rest)
		return nil, nil
	case "config":
		return []byte(fmt.Sprint(fc.GetUserConfValue(rest))), nil
	case "secret":
		return []byte(os.Getenv(rest)), nil
	case "environment":
		return []byte(strings.Join(os.Environ(), "\n")), nil
	case "metric":
		fc.RecordMetric(rest, 2.5)
		return nil, nil
	case "who":
		return []byte(fmt.Sprintf("%s/%s/%s %d of %s on %s", fc.GetFuncTenant(), fc.GetFuncNamespace(), fc.GetFuncName(),
			fc.GetInstanceID(), fc.GetFuncVersion(), fc.GetClusterName())), nil
	case "publish":
		topic, text, _ := strings.Cut(rest, " ")
		_, err := fc.NewOutputMessage(topic).Send(ctx, &pulsar.ProducerMessage{Payload: []byte(text)})
		return nil, err
	}
	return append(input, '!'), nil
}

func main() {
	pf.Start(handle)
}
