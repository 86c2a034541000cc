package main

// What consumers of Pulsar's own instances may have in flight, the broker decides: it must be enough for whatever they do with it.

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
)

// ofFunction is a consumer as an instance makes it. Source: `getProperties` of pulsar-function-go's `instance.go`.
func (b *box) ofFunction(instance int, options pulsar.ConsumerOptions) pulsar.Consumer {
	options.Properties = map[string]string{
		"application": "pulsar-function", "id": "public/default/f", "instance_id": fmt.Sprint(instance),
	}
	options.SubscriptionName = "sub"
	options.SubscriptionInitialPosition = pulsar.SubscriptionPositionEarliest
	return b.consumer(options)
}

func (b *box) fill(count int) {
	b.shared().Close()
	producer := b.plain()
	defer producer.Close()
	sendBatch(producer, texts(count, "m"))
}

// shares is how many messages two did in two seconds, one second after the second one joined a backlog.
func shares(b *box, queue int) []int64 {
	var until atomic.Bool
	var workers sync.WaitGroup
	done := make([]atomic.Int64, 2)
	values := make([][]string, 2)
	for instance := range done {
		consumer := b.ofFunction(instance, pulsar.ConsumerOptions{Type: pulsar.Shared, ReceiverQueueSize: queue})
		workers.Add(1)
		go func() {
			defer workers.Done()
			for !until.Load() {
				message, ok := receiveWithin(consumer, 200*time.Millisecond)
				if !ok {
					continue
				}
				time.Sleep(5 * time.Millisecond)
				values[instance] = append(values[instance], string(message.Payload()))
				done[instance].Add(1)
				_ = consumer.Ack(message)
			}
		}()
		time.Sleep(time.Duration(2-instance) * time.Second)
	}
	before := []int64{done[0].Load(), done[1].Load()}
	time.Sleep(2 * time.Second)
	got := []int64{done[0].Load() - before[0], done[1].Load() - before[1]}
	until.Store(true)
	workers.Wait()
	all := sorted(slices.Concat(values...))
	equal(len(slices.Compact(slices.Clone(all))), len(all), "each message is done once")
	return got
}

func fair(got []int64) {
	share := float64(got[0]+got[1]) / 2
	check(math.Abs(float64(got[0])-share) <= share*0.25, "messages done by each: %v", got)
}

func functionShares(b *box) {
	b.fill(4000)
	fair(shares(b, 1000))
}

func functionSharesQueueOfOne(b *box) {
	b.fill(4000)
	fair(shares(b, 1))
}

func functionCollects(b *box) {
	b.fill(1500)
	consumer := b.ofFunction(0, pulsar.ConsumerOptions{Type: pulsar.Shared})
	var got []string
	for range 5 {
		messages := take(consumer, 300)
		got = append(got, data(messages)...)
		for _, message := range messages {
			must(consumer.Ack(message))
		}
	}
	equal(sorted(got), sorted(texts(1500, "m")), "messages")
}

func functionAcksLate(b *box) {
	b.fill(100)
	consumer := b.ofFunction(0, pulsar.ConsumerOptions{Type: pulsar.Shared})
	var late []pulsar.Message
	var due []time.Time
	var done []string
	deadline := time.Now().Add(time.Minute)
	for len(done) < 100 {
		check(time.Now().Before(deadline), "%d of 100 are done, %d in hand", len(done), len(late))
		if message, ok := receiveWithin(consumer, 100*time.Millisecond); ok {
			late, due = append(late, message), append(due, time.Now().Add(3*time.Second))
		}
		for len(late) > 0 && due[0].Before(time.Now()) {
			must(consumer.Ack(late[0]))
			done = append(done, string(late[0].Payload()))
			late, due = late[1:], due[1:]
		}
	}
	equal(sorted(done), sorted(texts(100, "m")), "messages")
}

func functionNacks(b *box) {
	b.fill(200)
	consumer := b.ofFunction(0, pulsar.ConsumerOptions{Type: pulsar.Shared, NackRedeliveryDelay: 200 * time.Millisecond})
	seen, done := map[string]bool{}, map[string]bool{}
	for len(done) < 200 {
		message := take(consumer, 1)[0]
		value := string(message.Payload())
		if seen[value] {
			must(consumer.Ack(message))
			done[value] = true
		} else {
			seen[value] = true
			consumer.Nack(message)
		}
	}
}

func functionAcksCumulatively(b *box) {
	consumer := b.ofFunction(0, pulsar.ConsumerOptions{Type: pulsar.Failover})
	sendBatch(b.plain(), texts(500, "m"))
	for number := range 10 {
		messages := take(consumer, 50)
		equal(data(messages), texts(500, "m")[50*number:50*number+50], "messages")
		must(consumer.AckCumulative(messages[49]))
	}
}
