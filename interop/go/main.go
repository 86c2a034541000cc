// The official Go client against any Pulsar broker.
//
// Usage: PROGRAM SERVICE_URL ADMIN_URL [FILTER]
//
// Prints `ok NAME` or `FAIL NAME: why` for each scenario whose name contains FILTER. Scenario names mean the same in every language.
// `reconnect` prints `ready-for-restart` and waits for a line on standard input, by which time the broker has been restarted.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"reflect"
	"sort"
	"strings"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/apache/pulsar-client-go/pulsar/log"
	"github.com/sirupsen/logrus"
)

const scenarioLimit = 90 * time.Second

var background = context.Background()

// A failure is what a scenario panics with when it sees something other than what was promised.
type failure string

// A box is one scenario's client, with topics of its own.
type box struct {
	id, topic, admin string
	client           pulsar.Client
}

func newBox(name, service, admin string) *box {
	quiet := logrus.New()
	quiet.SetOutput(os.Stderr)
	quiet.SetLevel(logrus.WarnLevel)
	client, err := pulsar.NewClient(pulsar.ClientOptions{
		URL:              service,
		OperationTimeout: 15 * time.Second,
		Logger:           log.NewLoggerWithLogrus(quiet),
	})
	must(err)
	id := fmt.Sprintf("interop-go-%s-%x", strings.ReplaceAll(name, "_", "-"), time.Now().UnixNano())
	return &box{id: id, topic: "persistent://public/default/" + id, admin: admin, client: client}
}

// tryProducer makes a producer that does not batch unless `options` says otherwise.
func (b *box) tryProducer(options pulsar.ProducerOptions) (pulsar.Producer, error) {
	if options.Topic == "" {
		options.Topic = b.topic
	}
	options.DisableBatching = options.BatchingMaxMessages == 0
	return b.client.CreateProducer(options)
}

func (b *box) producer(options pulsar.ProducerOptions) pulsar.Producer {
	producer, err := b.tryProducer(options)
	must(err)
	return producer
}

func (b *box) plain() pulsar.Producer { return b.producer(pulsar.ProducerOptions{}) }

// batching fills one batch and sends it when flushed.
func batching() pulsar.ProducerOptions {
	return pulsar.ProducerOptions{BatchingMaxMessages: 100, BatchingMaxPublishDelay: 3 * time.Second}
}

func (b *box) tryConsumer(options pulsar.ConsumerOptions) (pulsar.Consumer, error) {
	if options.Topic == "" && options.Topics == nil && options.TopicsPattern == "" {
		options.Topic = b.topic
	}
	if options.SubscriptionName == "" {
		options.SubscriptionName = "sub"
		options.SubscriptionInitialPosition = pulsar.SubscriptionPositionEarliest
	}
	return b.client.Subscribe(options)
}

func (b *box) consumer(options pulsar.ConsumerOptions) pulsar.Consumer {
	consumer, err := b.tryConsumer(options)
	must(err)
	return consumer
}

func (b *box) exclusive() pulsar.Consumer { return b.consumer(pulsar.ConsumerOptions{}) }

func (b *box) shared() pulsar.Consumer {
	return b.consumer(pulsar.ConsumerOptions{Type: pulsar.Shared, NackRedeliveryDelay: 200 * time.Millisecond})
}

func (b *box) reader(start pulsar.MessageID, inclusive bool) pulsar.Reader {
	reader, err := b.client.CreateReader(pulsar.ReaderOptions{
		Topic: b.topic, StartMessageID: start, StartMessageIDInclusive: inclusive,
	})
	must(err)
	return reader
}

// rest calls the admin API; `into` may be nil.
func (b *box) rest(method, path string, body, into any) {
	var reader io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		must(err)
		reader = bytes.NewReader(encoded)
	}
	request, err := http.NewRequest(method, b.admin+path, reader)
	must(err)
	request.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(request)
	must(err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	must(err)
	check(answer.StatusCode < 300, "%s %s: %s %s", method, path, answer.Status, text)
	if into != nil {
		must(json.Unmarshal(text, into))
	}
}

func must(err error) {
	if err != nil {
		panic(failure(err.Error()))
	}
}

func check(condition bool, why string, args ...any) {
	if !condition {
		panic(failure(fmt.Sprintf("%.600s", fmt.Sprintf(why, args...))))
	}
}

func equal(got, want any, what string) {
	check(reflect.DeepEqual(got, want), "%s: got %v, want %v", what, got, want)
}

// refused wants an error that names `kind`.
func refused(err error, kind, what string) {
	check(err != nil && strings.Contains(err.Error(), kind), "%s: got %v, want %s", what, err, kind)
}

func texts(count int, prefix string) []string {
	values := make([]string, count)
	for i := range values {
		values[i] = fmt.Sprintf("%s%d", prefix, i)
	}
	return values
}

func sendAll(producer pulsar.Producer, values []string) []pulsar.MessageID {
	ids := make([]pulsar.MessageID, 0, len(values))
	for _, value := range values {
		ids = append(ids, send(producer, &pulsar.ProducerMessage{Payload: []byte(value)}))
	}
	return ids
}

func send(producer pulsar.Producer, message *pulsar.ProducerMessage) pulsar.MessageID {
	id, err := producer.Send(background, message)
	must(err)
	return id
}

// sendBatch queues everything and flushes once.
func sendBatch(producer pulsar.Producer, values []string) {
	results := make(chan error, len(values))
	for _, value := range values {
		producer.SendAsync(background, &pulsar.ProducerMessage{Payload: []byte(value)},
			func(_ pulsar.MessageID, _ *pulsar.ProducerMessage, err error) { results <- err })
	}
	must(producer.Flush())
	for range values {
		must(<-results)
	}
}

func receiveWithin(consumer pulsar.Consumer, limit time.Duration) (pulsar.Message, bool) {
	ctx, cancel := context.WithTimeout(background, limit)
	defer cancel()
	message, err := consumer.Receive(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, false
	}
	must(err)
	return message, true
}

// take receives without acknowledging.
func take(consumer pulsar.Consumer, count int) []pulsar.Message {
	var messages []pulsar.Message
	for range count {
		message, ok := receiveWithin(consumer, 20*time.Second)
		check(ok, "received %d of %d: %v", len(messages), count, data(messages))
		messages = append(messages, message)
	}
	return messages
}

func receive(consumer pulsar.Consumer, count int) []pulsar.Message {
	messages := take(consumer, count)
	for _, message := range messages {
		must(consumer.Ack(message))
	}
	return messages
}

// drain takes and acknowledges everything that arrives until nothing has for `quiet`.
func drain(consumer pulsar.Consumer, quiet time.Duration) []pulsar.Message {
	var messages []pulsar.Message
	for {
		message, ok := receiveWithin(consumer, quiet)
		if !ok {
			return messages
		}
		must(consumer.Ack(message))
		messages = append(messages, message)
	}
}

func silent(consumer pulsar.Consumer, quiet time.Duration) {
	message, ok := receiveWithin(consumer, quiet)
	if ok {
		panic(failure(fmt.Sprintf("unexpected message %.40q", message.Payload())))
	}
}

func data(messages []pulsar.Message) []string {
	values := make([]string, len(messages))
	for i, message := range messages {
		values[i] = string(message.Payload())
	}
	return values
}

func sorted(values []string) []string {
	copied := append([]string{}, values...)
	sort.Strings(copied)
	return copied
}

func main() {
	service, admin, filter := os.Args[1], os.Args[2], ""
	if len(os.Args) > 3 {
		filter = os.Args[3]
	}
	failed := false
	for _, scenario := range scenarios {
		if !strings.Contains(scenario.name, filter) {
			continue
		}
		if why := run(scenario, service, admin); why != "" {
			failed = true
			fmt.Printf("FAIL %s: %s\n", scenario.name, strings.ReplaceAll(why, "\n", " "))
		} else {
			fmt.Println("ok", scenario.name)
		}
	}
	if failed {
		os.Exit(1)
	}
}

// run says why the scenario failed, or nothing.
func run(scenario scenario, service, admin string) string {
	outcome := make(chan string, 1)
	go func() {
		why := ""
		defer func() {
			switch panicked := recover().(type) {
			case nil:
			case failure:
				why = string(panicked)
			default:
				why = fmt.Sprintf("panic: %v", panicked)
			}
			outcome <- why
		}()
		b := newBox(scenario.name, service, admin)
		defer func() { go b.client.Close() }() // closing may wait for a broker that does not answer
		scenario.body(b)
	}()
	select {
	case why := <-outcome:
		return why
	case <-time.After(scenarioLimit):
		return fmt.Sprintf("no end after %v", scenarioLimit)
	}
}
