package pf

import (
	"fmt"
	"net/http"
	"sync"
	"time"

	log "github.com/apache/pulsar/pulsar-function-go/logutil"
)

// exceptionsKept are the last ones.
const exceptionsKept = 10

type exception struct {
	text string
	// Nanoseconds, though the message it travels in says milliseconds.
	at int64
}

type stats struct {
	mutex          sync.Mutex
	totalReceived  float64
	totalProcessed float64
	totalFailed    float64
	calls          float64
	callMs         float64
	lastInvocation float64
	exceptions     []exception
	metrics        map[string][2]float64
}

func newStats() *stats {
	return &stats{metrics: map[string][2]float64{}}
}

func (s *stats) received() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.totalReceived++
	s.lastInvocation = float64(time.Now().UnixNano())
}

func (s *stats) processed() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.totalProcessed++
}

func (s *stats) took(took time.Duration) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.calls++
	s.callMs += float64(took.Nanoseconds()) / 1e6
}

func (s *stats) failed(err error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.totalFailed++
	s.exceptions = append(s.exceptions, exception{err.Error(), time.Now().UnixNano()})
	if len(s.exceptions) > exceptionsKept {
		s.exceptions = s.exceptions[1:]
	}
}

func (s *stats) record(name string, value float64) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	sum := s.metrics[name]
	s.metrics[name] = [2]float64{sum[0] + value, sum[1] + 1}
}

func (s *stats) latencyMs() float64 {
	if s.calls == 0 {
		return 0
	}
	return float64(float32(s.callMs) / float32(s.calls))
}

func serveMetrics(gi *instance) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		gi.stats.mutex.Lock()
		defer gi.stats.mutex.Unlock()
		fmt.Fprintf(w, "pulsar_function_received_total{fqfn=%q} %g\n", gi.conf.fqfn(), gi.stats.totalReceived)
	})
	go func() {
		log.Fatal(http.ListenAndServe(fmt.Sprintf(":%d", gi.conf.MetricsPort), handler))
	}()
}
