package pf

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	log "github.com/apache/pulsar/pulsar-function-go/logutil"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
)

// control answers `proto.InstanceControl`. Its messages are few, so they are written by hand.
type control struct {
	instance  *instance
	lastCheck atomic.Int64
}

func newControl(gi *instance) *control {
	c := &control{instance: gi}
	c.lastCheck.Store(time.Now().UnixNano())
	if seconds := gi.conf.ExpectedHealthCheckInterval; seconds > 0 {
		interval := time.Duration(seconds) * time.Second
		go func() {
			for range time.Tick(interval) {
				if time.Since(time.Unix(0, c.lastCheck.Load())) > 3*interval {
					log.Error("Haven't received health check from spawner in a while. Stopping instance...")
					gi.client.Close()
				}
			}
		}()
	}
	return c
}

func (c *control) serve() {
	listener, err := net.Listen("tcp", fmt.Sprintf(":%d", c.instance.conf.Port))
	if err != nil {
		log.Fatal("failed to listen: ", err)
	}
	method := func(name string, answer func() []byte) grpc.MethodDesc {
		return grpc.MethodDesc{MethodName: name, Handler: func(_ any, _ context.Context, request func(any) error,
			_ grpc.UnaryServerInterceptor) (any, error) {
			var empty []byte
			if err := request(&empty); err != nil {
				return nil, err
			}
			return answer(), nil
		}}
	}
	server := grpc.NewServer(grpc.ForceServerCodec(raw{}))
	server.RegisterService(&grpc.ServiceDesc{ServiceName: "proto.InstanceControl", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{
		method("GetFunctionStatus", c.status),
		method("GetMetrics", c.metrics),
		method("GetAndResetMetrics", c.metrics),
		method("ResetMetrics", func() []byte { return []byte{} }),
		method("HealthCheck", c.healthCheck),
	}}, c)
	go func() { log.Fatal(server.Serve(listener)) }()
}

func (c *control) healthCheck() []byte {
	c.lastCheck.Store(time.Now().UnixNano())
	return varint(nil, 1, 1)
}

func (c *control) status() []byte {
	s := c.instance.stats
	s.mutex.Lock()
	defer s.mutex.Unlock()
	status := varint(nil, 1, 1)
	status = varint(status, 17, float32(s.totalReceived))
	status = varint(status, 5, float32(s.totalProcessed))
	status = varint(status, 6, float32(s.totalFailed))
	for _, exception := range s.exceptions {
		message := protowire.AppendTag(nil, 1, protowire.BytesType)
		message = protowire.AppendString(message, exception.text)
		message = protowire.AppendTag(message, 2, protowire.VarintType)
		message = protowire.AppendVarint(message, uint64(exception.at))
		status = protowire.AppendTag(status, 7, protowire.BytesType)
		status = protowire.AppendBytes(status, message)
	}
	status = double(status, 12, s.latencyMs())
	status = varint(status, 13, float32(s.lastInvocation))
	status = protowire.AppendTag(status, 14, protowire.BytesType)
	return protowire.AppendString(status, strconv.Itoa(c.instance.conf.InstanceID))
}

func (c *control) metrics() []byte {
	s := c.instance.stats
	s.mutex.Lock()
	defer s.mutex.Unlock()
	metrics := varint(nil, 2, float32(s.totalReceived))
	metrics = varint(metrics, 4, float32(s.totalProcessed))
	metrics = varint(metrics, 6, float32(s.totalFailed))
	metrics = double(metrics, 7, s.latencyMs())
	for name, sum := range s.metrics {
		entry := protowire.AppendTag(nil, 1, protowire.BytesType)
		entry = double(protowire.AppendString(entry, name), 2, sum[0]/sum[1])
		metrics = protowire.AppendTag(metrics, 9, protowire.BytesType)
		metrics = protowire.AppendBytes(metrics, entry)
	}
	return metrics
}

func varint(to []byte, field protowire.Number, value float32) []byte {
	return protowire.AppendVarint(protowire.AppendTag(to, field, protowire.VarintType), uint64(value))
}

func double(to []byte, field protowire.Number, value float64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(to, field, protowire.Fixed64Type), math.Float64bits(value))
}

// raw leaves messages as they are.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(v any) ([]byte, error) {
	if bytes, ok := v.([]byte); ok {
		return bytes, nil
	}
	return nil, errors.New("not bytes")
}

func (raw) Unmarshal(data []byte, v any) error {
	if bytes, ok := v.(*[]byte); ok {
		*bytes = data
		return nil
	}
	return errors.New("not bytes")
}
