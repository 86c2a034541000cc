package pf

import (
	"context"
	"encoding/json"

	"github.com/apache/pulsar-client-go/pulsar"
	log "github.com/apache/pulsar/pulsar-function-go/logutil"
)

// FunctionContext is what user code may ask.
type FunctionContext struct {
	conf       *conf
	userConfig map[string]any
	instance   *instance
}

func newContext(conf *conf, instance *instance) *FunctionContext {
	fc := &FunctionContext{conf: conf, userConfig: map[string]any{}, instance: instance}
	if conf.UserConfig != "" {
		if err := json.Unmarshal([]byte(conf.UserConfig), &fc.userConfig); err != nil {
			log.Errorf("unmarshal user config: %v", err)
		}
	}
	return fc
}

func (fc *FunctionContext) GetInstanceID() int               { return fc.conf.InstanceID }
func (fc *FunctionContext) GetFuncTenant() string            { return fc.conf.Tenant }
func (fc *FunctionContext) GetFuncNamespace() string         { return fc.conf.NameSpace }
func (fc *FunctionContext) GetFuncName() string              { return fc.conf.Name }
func (fc *FunctionContext) GetFuncVersion() string           { return fc.conf.FuncVersion }
func (fc *FunctionContext) GetClusterName() string           { return fc.conf.ClusterName }
func (fc *FunctionContext) GetUserConfValue(key string) any  { return fc.userConfig[key] }
func (fc *FunctionContext) RecordMetric(n string, v float64) { fc.instance.stats.record(n, v) }

// NewOutputMessage is a producer on another topic.
func (fc *FunctionContext) NewOutputMessage(topic string) pulsar.Producer {
	producer, err := fc.instance.producerOf(topic)
	if err != nil {
		log.Fatal(err)
	}
	return producer
}

type contextKey struct{}

// FromContext finds what user code may ask in what it was called with.
func FromContext(ctx context.Context) (*FunctionContext, bool) {
	fc, ok := ctx.Value(contextKey{}).(*FunctionContext)
	return fc, ok
}
