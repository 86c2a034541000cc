// Package pf runs a function as an instance of Pulsar Functions.
package pf

import (
	"context"
	"encoding/json"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	log "github.com/apache/pulsar/pulsar-function-go/logutil"
)

type instance struct {
	conf      *conf
	client    pulsar.Client
	producer  pulsar.Producer
	logs      pulsar.Producer
	consumers map[string]pulsar.Consumer
	stats     *stats
}

// Start calls the function with each message, until the program ends.
func Start(function func(context.Context, []byte) ([]byte, error)) {
	gi := &instance{conf: readConf(), consumers: map[string]pulsar.Consumer{}, stats: newStats()}
	if err := gi.run(function); err != nil {
		log.Fatal(err)
	}
}

func (gi *instance) run(function func(context.Context, []byte) ([]byte, error)) error {
	control := newControl(gi)
	messages, err := gi.open()
	if err != nil {
		return err
	}
	control.serve()
	serveMetrics(gi)
	ctx := context.WithValue(context.Background(), contextKey{}, newContext(gi.conf, gi))
	for message := range messages {
		consumer := message.Consumer
		if gi.conf.AutoAck && gi.conf.ProcessingGuarantees == atMostOnce {
			_ = consumer.Ack(message)
		}
		gi.stats.received()
		gi.flushLog()
		began := time.Now()
		output, err := function(ctx, message.Payload())
		if err != nil {
			log.Errorf("handler message error:%v", err)
			if gi.conf.AutoAck && gi.conf.ProcessingGuarantees == atLeastOnce {
				consumer.Nack(message)
			}
			gi.stats.failed(err)
			return err
		}
		gi.stats.took(time.Since(began))
		gi.finish(message, output)
	}
	return nil
}

// open opens what the instance reads and writes, in the SDK's order: whoever connects to its port knows that all of it is there.
func (gi *instance) open() (<-chan pulsar.ConsumerMessage, error) {
	client, err := pulsar.NewClient(pulsar.ClientOptions{URL: gi.conf.PulsarServiceURL})
	if err != nil {
		return nil, err
	}
	gi.client = client
	if gi.conf.SinkSpecsTopic != "" {
		if gi.producer, err = gi.producerOf(gi.conf.SinkSpecsTopic); err != nil {
			return nil, err
		}
	}
	messages := make(chan pulsar.ConsumerMessage)
	for topic, text := range gi.conf.SourceInputSpecs {
		var spec consumerSpec
		if err := json.Unmarshal([]byte(text), &spec); err != nil {
			return nil, err
		}
		if gi.consumers[topic], err = gi.subscribe(topic, spec, messages); err != nil {
			return nil, err
		}
	}
	if gi.conf.LogTopic != "" {
		if gi.logs, err = gi.producerOf(gi.conf.LogTopic); err != nil {
			return nil, err
		}
	}
	return messages, nil
}

func (gi *instance) subscribe(topic string, spec consumerSpec, to chan pulsar.ConsumerMessage) (pulsar.Consumer, error) {
	options := pulsar.ConsumerOptions{
		SubscriptionName:  gi.conf.SubscriptionName,
		Type:              []pulsar.SubscriptionType{pulsar.Shared, pulsar.Failover, pulsar.KeyShared}[gi.conf.SubscriptionType],
		MessageChannel:    to,
		ReceiverQueueSize: spec.ReceiverQueueSize.Value,
	}
	if options.SubscriptionName == "" {
		options.SubscriptionName = gi.conf.fqfn()
	}
	if gi.conf.SubscriptionPosition == 1 {
		options.SubscriptionInitialPosition = pulsar.SubscriptionPositionEarliest
	}
	if spec.IsRegexPattern {
		options.TopicsPattern = topic
	} else {
		options.Topic = topic
	}
	return gi.client.Subscribe(options)
}

func (gi *instance) producerOf(topic string) (pulsar.Producer, error) {
	return gi.client.CreateProducer(pulsar.ProducerOptions{
		Topic:                   topic,
		CompressionType:         pulsar.LZ4,
		BatchingMaxPublishDelay: 10 * time.Millisecond,
	})
}

func (gi *instance) finish(message pulsar.ConsumerMessage, output []byte) {
	done := func() {
		if gi.conf.AutoAck && gi.conf.ProcessingGuarantees == atLeastOnce {
			_ = message.Consumer.Ack(message)
		}
		gi.stats.processed()
	}
	if output == nil || gi.producer == nil {
		done()
		return
	}
	gi.producer.SendAsync(context.Background(), &pulsar.ProducerMessage{Payload: output},
		func(_ pulsar.MessageID, _ *pulsar.ProducerMessage, err error) {
			if err != nil {
				log.Fatal(err)
			}
			done()
		})
}

// flushLog sends what was logged since the last message.
func (gi *instance) flushLog() {
	lines := log.Take()
	if gi.logs == nil {
		return
	}
	for _, line := range lines {
		gi.logs.SendAsync(context.Background(), &pulsar.ProducerMessage{Payload: []byte(line)},
			func(_ pulsar.MessageID, _ *pulsar.ProducerMessage, err error) {
				if err != nil {
					log.Fatal(err)
				}
			})
	}
}
