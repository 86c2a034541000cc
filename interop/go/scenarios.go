package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
)

type scenario struct {
	name string
	body func(*box)
}

var scenarios = []scenario{
	{"produce_consume", produceConsume},
	{"batched", batched},
	{"compression_none", compression(pulsar.NoCompression)},
	{"compression_lz4", compression(pulsar.LZ4)},
	{"compression_zlib", compression(pulsar.ZLib)},
	{"compression_zstd", compression(pulsar.ZSTD)},
	{"compression_snappy", compression(pulsar.SNAPPY)},
	{"exclusive", exclusive},
	{"shared", shared},
	{"failover", failover},
	{"key_shared", keyShared},
	{"individual_ack", individualAck},
	{"cumulative_ack", cumulativeAck},
	{"batch_index_ack", batchIndexAck},
	{"ack_receipt", ackReceipt},
	{"nack", nack},
	{"redelivery_count", redeliveryCount},
	{"dead_letter", deadLetter},
	{"function_shares", functionShares},
	{"function_shares_queue_of_one", functionSharesQueueOfOne},
	{"function_collects", functionCollects},
	{"function_acks_late", functionAcksLate},
	{"function_nacks", functionNacks},
	{"function_acks_cumulatively", functionAcksCumulatively},
	{"reader_earliest", readerEarliest},
	{"reader_latest", readerLatest},
	{"reader_message_id", readerMessageID},
	{"seek_id", seekID},
	{"seek_time", seekTime},
	{"last_message_id", lastMessageID},
	{"unsubscribe", unsubscribe},
	{"partitioned", partitioned},
	{"metadata", metadata},
	{"deduplication", deduplication},
	{"large_message", largeMessage},
	{"chunked", chunked},
	{"delayed", delayed},
	{"regex", regex},
	{"receive_timeout", receiveTimeout},
	{"producer_exclusive", producerExclusive},
	{"multi_topic", multiTopic},
	{"json_schema", jsonSchema},
	{"raw_bytes", rawBytes},
	{"reconnect", reconnect},
}

func produceConsume(b *box) {
	consumer, producer := b.exclusive(), b.plain()
	ids := sendAll(producer, texts(20, "m"))
	got := receive(consumer, 20)
	equal(data(got), texts(20, "m"), "messages")
	for i, message := range got {
		equal(position(message.ID()), position(ids[i]), "message id")
	}
	silent(consumer, 700*time.Millisecond)
}

func position(id pulsar.MessageID) [2]int64 { return [2]int64{id.LedgerID(), id.EntryID()} }

func batched(b *box) {
	consumer := b.exclusive()
	sendBatch(b.producer(batching()), texts(100, "m"))
	got := receive(consumer, 100)
	equal(data(got), texts(100, "m"), "messages")
	entries := map[[2]int64]bool{}
	for _, message := range got {
		entries[position(message.ID())] = true
	}
	check(len(entries) < 10, "100 messages in %d entries", len(entries))
}

func compression(kind pulsar.CompressionType) func(*box) {
	return func(b *box) {
		consumer := b.exclusive()
		values := texts(20, strings.Repeat("compressible ", 50))
		sendAll(b.producer(pulsar.ProducerOptions{CompressionType: kind}), values)
		options := batching()
		options.CompressionType = kind
		sendBatch(b.producer(options), values)
		equal(data(receive(consumer, 40)), slices.Concat(values, values), "messages")
	}
}

func exclusive(b *box) {
	first := b.exclusive()
	_, err := b.tryConsumer(pulsar.ConsumerOptions{})
	refused(err, "ConsumerBusy", "second exclusive consumer")
	first.Close()
	b.exclusive().Close()
}

func shared(b *box) {
	options := pulsar.ConsumerOptions{Type: pulsar.Shared, ReceiverQueueSize: 5}
	consumers := []pulsar.Consumer{b.consumer(options), b.consumer(options)}
	sendAll(b.plain(), texts(60, "m"))
	var all []string
	counts := [2]int{}
	for range 2 {
		for i, consumer := range consumers {
			got := data(drain(consumer, 800*time.Millisecond))
			counts[i] += len(got)
			all = append(all, got...)
		}
	}
	equal(sorted(all), sorted(texts(60, "m")), "messages")
	check(counts[0] > 0 && counts[1] > 0, "one consumer did all the work: %v", counts)
}

func failover(b *box) {
	var consumers []pulsar.Consumer
	for _, name := range []string{"a", "b"} {
		consumers = append(consumers, b.consumer(pulsar.ConsumerOptions{Type: pulsar.Failover, Name: name}))
	}
	producer := b.plain()
	time.Sleep(2 * time.Second) // the broker may take a moment to settle who is active
	sendAll(producer, texts(10, "m"))
	first, second := drain(consumers[0], 1500*time.Millisecond), drain(consumers[1], 1500*time.Millisecond)
	check(len(first) == 0 || len(second) == 0, "both were active: %d and %d", len(first), len(second))
	equal(data(append(first, second...)), texts(10, "m"), "messages")
	active := 0
	if len(first) == 0 {
		active = 1
	}
	consumers[active].Close()
	sendAll(producer, texts(10, "n"))
	equal(data(receive(consumers[1-active], 10)), texts(10, "n"), "after the takeover")
}

func keyShared(b *box) {
	consumers := []pulsar.Consumer{
		b.consumer(pulsar.ConsumerOptions{Type: pulsar.KeyShared}), b.consumer(pulsar.ConsumerOptions{Type: pulsar.KeyShared}),
	}
	producer, keys := b.plain(), texts(20, "key-")
	for n := range 10 {
		for _, key := range keys {
			producer.SendAsync(background, &pulsar.ProducerMessage{Key: key, Payload: []byte(strconv.Itoa(n))},
				func(pulsar.MessageID, *pulsar.ProducerMessage, error) {})
		}
	}
	must(producer.Flush())
	orders := map[string][]string{}
	for i, consumer := range consumers {
		got := drain(consumer, 1500*time.Millisecond)
		check(len(got) > 0, "consumer %d has no key", i)
		for _, message := range got {
			owned := fmt.Sprint(message.Key(), " at ", i)
			orders[owned] = append(orders[owned], string(message.Payload()))
		}
	}
	equal(len(orders), len(keys), "keys by consumer")
	for owned, order := range orders {
		equal(order, texts(10, ""), "order of "+owned)
	}
}

func individualAck(b *box) {
	consumer := b.shared()
	sendAll(b.plain(), texts(10, "m"))
	for i, message := range take(consumer, 10) {
		if i%2 == 0 {
			must(consumer.Ack(message))
		}
	}
	consumer.Close()
	equal(sorted(data(drain(b.shared(), 1500*time.Millisecond))), odd(texts(10, "m")), "redelivered")
}

func odd(values []string) []string {
	var kept []string
	for i := 1; i < len(values); i += 2 {
		kept = append(kept, values[i])
	}
	return kept
}

func cumulativeAck(b *box) {
	consumer := b.exclusive()
	sendAll(b.plain(), texts(10, "m"))
	must(consumer.AckCumulative(take(consumer, 10)[5]))
	consumer.Close()
	equal(data(drain(b.exclusive(), 1500*time.Millisecond)), texts(10, "m")[6:], "redelivered")
}

func batchIndexAck(b *box) {
	options := pulsar.ConsumerOptions{Type: pulsar.Shared, EnableBatchIndexAcknowledgment: true}
	consumer := b.consumer(options)
	sendBatch(b.producer(batching()), texts(10, "m"))
	got := take(consumer, 10)
	equal(position(got[0].ID()), position(got[9].ID()), "entry of first and last")
	for i := 0; i < 10; i += 2 {
		must(consumer.Ack(got[i]))
	}
	consumer.Close()
	equal(data(drain(b.consumer(options), 1500*time.Millisecond)), odd(texts(10, "m")), "redelivered")
}

// ackReceipt acknowledges with a request id, so that each ack is answered.
func ackReceipt(b *box) {
	options := pulsar.ConsumerOptions{Type: pulsar.Shared, AckWithResponse: true}
	consumer := b.consumer(options)
	sendAll(b.plain(), texts(4, "m"))
	got := take(consumer, 4)
	must(consumer.Ack(got[0]))
	must(consumer.AckIDList([]pulsar.MessageID{got[1].ID(), got[3].ID()}))
	consumer.Close()
	equal(data(drain(b.consumer(options), 1500*time.Millisecond)), []string{"m2"}, "redelivered")
}

func nack(b *box) {
	consumer := b.shared()
	sendAll(b.plain(), texts(5, "m"))
	for i, message := range take(consumer, 5) {
		if i%2 == 1 {
			consumer.Nack(message)
		} else {
			must(consumer.Ack(message))
		}
	}
	equal(sorted(data(receive(consumer, 2))), []string{"m1", "m3"}, "redelivered")
	silent(consumer, 700*time.Millisecond)
}

func redeliveryCount(b *box) {
	consumer := b.shared()
	sendAll(b.plain(), []string{"again"})
	for count := range 3 {
		message := take(consumer, 1)[0]
		equal(message.RedeliveryCount(), uint32(count), "redelivery count")
		consumer.Nack(message)
	}
}

func deadLetter(b *box) {
	dead := b.consumer(pulsar.ConsumerOptions{Topic: b.topic + "-dead"})
	consumer := b.consumer(pulsar.ConsumerOptions{
		Type:                pulsar.Shared,
		NackRedeliveryDelay: 200 * time.Millisecond,
		DLQ:                 &pulsar.DLQPolicy{MaxDeliveries: 3, DeadLetterTopic: b.topic + "-dead"},
	})
	sendAll(b.plain(), []string{"good", "bad"})
	bad := 0
	for range 4 {
		message := take(consumer, 1)[0]
		if string(message.Payload()) == "good" {
			must(consumer.Ack(message))
		} else {
			bad++
			consumer.Nack(message)
		}
	}
	equal(bad, 3, "deliveries before the dead letter")
	equal(data(receive(dead, 1)), []string{"bad"}, "dead letter")
	silent(consumer, 700*time.Millisecond)
}

func read(reader pulsar.Reader, count int) []string {
	var values []string
	for range count {
		ctx, cancel := context.WithTimeout(background, 15*time.Second)
		message, err := reader.Next(ctx)
		cancel()
		check(err == nil, "read %d of %d: %v", len(values), count, err)
		values = append(values, string(message.Payload()))
	}
	return values
}

func readerEarliest(b *box) {
	sendAll(b.plain(), texts(10, "m"))
	equal(read(b.reader(pulsar.EarliestMessageID(), false), 10), texts(10, "m"), "messages")
}

func readerLatest(b *box) {
	producer := b.plain()
	sendAll(producer, texts(5, "m"))
	reader := b.reader(pulsar.LatestMessageID(), false)
	sendAll(producer, texts(5, "n"))
	equal(read(reader, 5), texts(5, "n"), "messages")
}

func readerMessageID(b *box) {
	ids := sendAll(b.plain(), texts(10, "m"))
	equal(read(b.reader(ids[3], false), 1), []string{"m4"}, "after the start id")
	equal(read(b.reader(ids[3], true), 1), []string{"m3"}, "the start id itself")
}

func seekID(b *box) {
	ids := sendAll(b.plain(), texts(10, "m"))
	consumer := b.consumer(pulsar.ConsumerOptions{StartMessageIDInclusive: true})
	receive(consumer, 10)
	must(consumer.Seek(ids[4]))
	equal(data(receive(consumer, 6)), texts(10, "m")[4:], "after seek")
	must(consumer.Seek(pulsar.NewMessageID(-1, -1, -1, 0))) // EarliestMessageID has no partition, which this client's Seek refuses
	equal(data(receive(consumer, 10)), texts(10, "m"), "after seek to earliest")
}

func seekTime(b *box) {
	producer, consumer := b.plain(), b.exclusive()
	sendAll(producer, texts(5, "m"))
	time.Sleep(100 * time.Millisecond)
	middle := time.Now()
	time.Sleep(100 * time.Millisecond)
	sendAll(producer, texts(5, "n"))
	receive(consumer, 10)
	must(consumer.SeekByTime(middle))
	equal(data(receive(consumer, 5)), texts(5, "n"), "after seek")
}

func lastMessageID(b *box) {
	producer, consumer := b.plain(), b.exclusive()
	reader := b.reader(pulsar.EarliestMessageID(), false)
	check(!reader.HasNext(), "an empty topic has a message")
	ids := sendAll(producer, texts(3, "m"))
	last, err := consumer.GetLastMessageIDs()
	must(err)
	equal(position(last[0]), position(ids[2]), "last message id")
	for _, value := range texts(3, "m") {
		check(reader.HasNext(), "%s is available", value)
		equal(read(reader, 1), []string{value}, "message")
	}
	check(!reader.HasNext(), "nothing is left")
}

func unsubscribe(b *box) {
	consumer := b.exclusive()
	path := "/admin/v2/persistent/public/default/" + b.id + "/subscriptions"
	var names []string
	b.rest("GET", path, nil, &names)
	equal(names, []string{"sub"}, "subscriptions")
	must(consumer.Unsubscribe())
	b.rest("GET", path, nil, &names)
	equal(len(names), 0, "subscriptions after unsubscribe")
	producer := b.plain()
	sendAll(producer, []string{"unseen"})
	consumer = b.consumer(pulsar.ConsumerOptions{SubscriptionName: "sub"})
	sendAll(producer, []string{"fresh"})
	equal(data(receive(consumer, 1)), []string{"fresh"}, "a new subscription of the same name")
}

func partitioned(b *box) {
	b.rest("PUT", "/admin/v2/persistent/public/default/"+b.id+"/partitions", 3, nil)
	partitions, err := b.client.TopicPartitions(b.topic)
	must(err)
	equal(len(partitions), 3, "partitions")
	consumer := b.exclusive()
	sendAll(b.plain(), texts(30, "m"))
	got := receive(consumer, 30)
	equal(sorted(data(got)), sorted(texts(30, "m")), "messages")
	used := map[int32]bool{}
	for _, message := range got {
		used[message.ID().PartitionIdx()] = true
	}
	equal(len(used), 3, "partitions used")
}

func metadata(b *box) {
	consumer, producer := b.exclusive(), b.producer(pulsar.ProducerOptions{Name: b.id + "-p"})
	before, sequence, properties := time.Now(), int64(42), map[string]string{"a": "1", "b": "two"}
	send(producer, &pulsar.ProducerMessage{
		Payload: []byte("x"), Key: "key", OrderingKey: "order", Properties: properties,
		EventTime: time.UnixMilli(1234567), SequenceID: &sequence,
	})
	message := receive(consumer, 1)[0]
	equal(message.Key(), "key", "key")
	equal(message.OrderingKey(), "order", "ordering key")
	equal(message.Properties(), properties, "properties")
	equal(message.EventTime().UnixMilli(), int64(1234567), "event time")
	equal(message.ProducerName(), b.id+"-p", "producer name")
	check(message.PublishTime().Sub(before).Abs() < 15*time.Second, "publish time")
	equal(producer.LastSequenceID(), sequence, "sequence id")
}

func deduplication(b *box) {
	namespace := "public/" + b.id
	b.rest("PUT", "/admin/v2/namespaces/"+namespace, map[string]any{}, nil)
	b.rest("POST", "/admin/v2/namespaces/"+namespace+"/deduplication", true, nil)
	topic := "persistent://" + namespace + "/orders"
	consumer := b.consumer(pulsar.ConsumerOptions{Topic: topic})
	producer := b.producer(pulsar.ProducerOptions{Topic: topic, Name: "p"})
	for i := range int64(20) {
		sequence := i
		if i >= 10 {
			sequence = i - 5
		}
		send(producer, &pulsar.ProducerMessage{Payload: fmt.Appendf(nil, "m%d", sequence), SequenceID: &sequence})
	}
	equal(data(drain(consumer, 1500*time.Millisecond)), texts(15, "m"), "messages")
	producer.Close()
	again := b.producer(pulsar.ProducerOptions{Topic: topic, Name: "p"})
	for sequence := range int64(16) { // this client does not tell the last sequence id that it was given back
		send(again, &pulsar.ProducerMessage{Payload: fmt.Appendf(nil, "m%d", sequence), SequenceID: &sequence})
	}
	equal(data(drain(consumer, 1500*time.Millisecond)), []string{"m15"}, "messages of the returning producer")
}

func random(size int) string {
	payload := make([]byte, size)
	rand.Read(payload)
	return string(payload)
}

func largeMessage(b *box) {
	consumer, payload := b.exclusive(), random(4<<20)
	sendAll(b.plain(), []string{payload})
	check(data(receive(consumer, 1))[0] == payload, "payload differs")
}

func chunked(b *box) {
	consumer, payload := b.exclusive(), random(12<<20)
	sendAll(b.producer(pulsar.ProducerOptions{EnableChunking: true}), []string{payload, "small"})
	got := data(receive(consumer, 2))
	check(got[0] == payload, "payload differs")
	equal(got[1], "small", "next message")
}

func delayed(b *box) {
	consumer, producer := b.shared(), b.plain()
	send(producer, &pulsar.ProducerMessage{Payload: []byte("later"), DeliverAfter: 3 * time.Second})
	sendAll(producer, []string{"now"})
	equal(data(receive(consumer, 1)), []string{"now"}, "first")
	silent(consumer, 1200*time.Millisecond)
	equal(data(receive(consumer, 1)), []string{"later"}, "second")
}

func regex(b *box) {
	on := func(suffix string) pulsar.Producer {
		return b.producer(pulsar.ProducerOptions{Topic: b.topic + suffix})
	}
	sendAll(on("-one"), []string{"1"})
	sendAll(on("x"), []string{"not this"})
	consumer := b.consumer(pulsar.ConsumerOptions{TopicsPattern: b.topic + "-.*", AutoDiscoveryPeriod: time.Second})
	equal(data(receive(consumer, 1)), []string{"1"}, "existing topic")
	sendAll(on("-two"), []string{"2"})
	equal(data(receive(consumer, 1)), []string{"2"}, "topic made later")
	silent(consumer, 700*time.Millisecond)
}

func receiveTimeout(b *box) {
	consumer, start := b.exclusive(), time.Now()
	_, ok := receiveWithin(consumer, 500*time.Millisecond)
	check(!ok && time.Since(start) > 400*time.Millisecond && time.Since(start) < 3*time.Second, "timeout of 500 ms")
}

func producerExclusive(b *box) {
	exclusive := pulsar.ProducerOptions{ProducerAccessMode: pulsar.ProducerAccessModeExclusive}
	first := b.producer(exclusive)
	_, err := b.tryProducer(exclusive)
	refused(err, "ProducerFenced", "second exclusive producer")
	_, err = b.tryProducer(pulsar.ProducerOptions{})
	refused(err, "ProducerBusy", "shared producer beside an exclusive one")
	turn := make(chan pulsar.Producer, 1)
	go func() {
		if waiting, err := b.tryProducer(pulsar.ProducerOptions{ProducerAccessMode: pulsar.ProducerAccessModeWaitForExclusive}); err == nil {
			turn <- waiting
		}
	}()
	time.Sleep(time.Second)
	check(len(turn) == 0, "the waiting producer did not wait")
	sendAll(first, []string{"first"})
	first.Close()
	select {
	case waiting := <-turn:
		sendAll(waiting, []string{"second"})
	case <-time.After(15 * time.Second):
		check(false, "the waiting producer never got its turn")
	}
	equal(data(drain(b.exclusive(), 1500*time.Millisecond)), []string{"first", "second"}, "messages")
}

func multiTopic(b *box) {
	topics := texts(3, b.topic+"-")
	consumer := b.consumer(pulsar.ConsumerOptions{Topics: topics})
	for _, topic := range topics {
		sendAll(b.producer(pulsar.ProducerOptions{Topic: topic}), []string{topic})
	}
	equal(sorted(data(receive(consumer, 3))), topics, "messages")
}

func jsonSchema(b *box) {
	type order struct {
		Name  string `json:"name"`
		Count int    `json:"count"`
	}
	schema := pulsar.NewJSONSchema(`{"type":"record","name":"Order","fields":[{"name":"name","type":"string"},{"name":"count","type":"int"}]}`, nil)
	consumer := b.consumer(pulsar.ConsumerOptions{Schema: schema})
	send(b.producer(pulsar.ProducerOptions{Schema: schema}), &pulsar.ProducerMessage{Value: order{"pen", 3}})
	var got order
	must(receive(consumer, 1)[0].GetSchemaValue(&got))
	equal(got, order{"pen", 3}, "record")
}

func rawBytes(b *box) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	values := []string{string(every), strings.Repeat("\x00", 1000)}
	consumer := b.exclusive()
	sendAll(b.plain(), values)
	equal(data(receive(consumer, len(values))), values, "payloads") // an empty payload never comes out of this client
}

// reconnect publishes and consumes through a restart of the broker; every receipted message arrives, and in order.
func reconnect(b *box) {
	producer, consumer := b.plain(), b.exclusive()
	var lock sync.Mutex
	var receipted []int
	var restarted, done atomic.Bool
	go func() {
		for number, after := 0, 0; after < 50; number++ {
			ctx, cancel := context.WithTimeout(background, 60*time.Second)
			_, err := producer.Send(ctx, &pulsar.ProducerMessage{Payload: []byte(strconv.Itoa(number))})
			cancel()
			if err != nil {
				time.Sleep(200 * time.Millisecond)
				continue
			}
			lock.Lock()
			receipted = append(receipted, number)
			lock.Unlock()
			if restarted.Load() {
				after++
			}
			time.Sleep(5 * time.Millisecond)
		}
		done.Store(true)
	}()
	var seen []int
	note := func(message pulsar.Message) {
		number, _ := strconv.Atoi(string(message.Payload()))
		if !slices.Contains(seen, number) {
			seen = append(seen, number)
		}
		_ = consumer.Ack(message) // fails while the broker is away; then the message comes again
	}
	for _, message := range take(consumer, 50) {
		note(message)
	}
	fmt.Println("ready-for-restart")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	restarted.Store(true)
	missing := func() []int {
		lock.Lock()
		defer lock.Unlock()
		var lost []int
		for _, number := range receipted {
			if !slices.Contains(seen, number) {
				lost = append(lost, number)
			}
		}
		return lost
	}
	for deadline := time.Now().Add(75 * time.Second); time.Now().Before(deadline) && !(done.Load() && len(missing()) == 0); {
		if message, ok := receiveWithin(consumer, 500*time.Millisecond); ok {
			note(message)
		}
	}
	check(done.Load(), "publishing did not go on after the restart")
	check(len(missing()) == 0, "lost receipted messages %v", missing())
	check(slices.IsSorted(seen), "order of first deliveries: %v", seen)
}
