package pf

import (
	"encoding/json"
	"flag"

	log "github.com/apache/pulsar/pulsar-function-go/logutil"
)

// conf is what `-instance-conf` says.
type conf struct {
	PulsarServiceURL            string            `json:"pulsarServiceURL"`
	InstanceID                  int               `json:"instanceID"`
	FuncID                      string            `json:"funcID"`
	FuncVersion                 string            `json:"funcVersion"`
	Port                        int               `json:"port"`
	MetricsPort                 int               `json:"metricsPort"`
	ClusterName                 string            `json:"clusterName"`
	ExpectedHealthCheckInterval int               `json:"expectedHealthCheckInterval"`
	Tenant                      string            `json:"tenant"`
	NameSpace                   string            `json:"nameSpace"`
	Name                        string            `json:"name"`
	LogTopic                    string            `json:"logTopic"`
	ProcessingGuarantees        int               `json:"processingGuarantees"`
	UserConfig                  string            `json:"userConfig"`
	AutoAck                     bool              `json:"autoAck"`
	SubscriptionType            int               `json:"subscriptionType"`
	SubscriptionName            string            `json:"subscriptionName"`
	SubscriptionPosition        int               `json:"subscriptionPosition"`
	SourceInputSpecs            map[string]string `json:"sourceInputSpecs"`
	SinkSpecsTopic              string            `json:"sinkSpecsTopic"`
}

// consumerSpec is protobuf's JSON of an input.
type consumerSpec struct {
	IsRegexPattern    bool `json:"isRegexPattern"`
	ReceiverQueueSize struct {
		Value int `json:"value"`
	} `json:"receiverQueueSize"`
}

// Guarantees of `Function.proto`.
const (
	atLeastOnce = 0
	atMostOnce  = 1
)

func readConf() *conf {
	text := flag.String("instance-conf", "", "the configuration of this instance")
	flag.Parse()
	read := &conf{}
	if err := json.Unmarshal([]byte(*text), read); err != nil {
		log.Fatal("unmarshal config content error:", err)
	}
	return read
}

func (c *conf) fqfn() string {
	return c.Tenant + "/" + c.NameSpace + "/" + c.Name
}
