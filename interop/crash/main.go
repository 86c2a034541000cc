// Kills the broker with -9 again and again under load, in some rounds frozen before, and checks every promise it made: a
// receipt means that the message is there, in its producer's order; a confirmed acknowledgement means that it does not come
// back.
package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/apache/pulsar-client-go/pulsar/log"
	"github.com/sirupsen/logrus"
)

var (
	binary   = flag.String("broker", "target/release/geminga", "the broker's binary")
	dir      = flag.String("dir", "target/interop/crash", "where it keeps its data; emptied first")
	rounds   = flag.Int("rounds", 20, "rounds of kill and restart")
	seed     = flag.Int64("seed", time.Now().UnixNano(), "for the moments of the kills")
	sabotage = flag.String("sabotage", "", "break a promise, which the check must notice: data (lost between kill and restart), "+
		"receipts (one that the broker never gave), acks (some that were never sent)")
)

const (
	topicsPerRound = 3
	// Topics live through several kills; when a producer has sent this much, new ones take their place. It stops at twice
	// that, because a consumer that acknowledges nothing gets no more than 50,000 messages.
	messagesPerProducer = 12_000
)

// running is the broker to stop however this program ends.
var running atomic.Pointer[exec.Cmd]

// broker is the process under test, on the same ports and directory each time.
type broker struct {
	command           *exec.Cmd
	data              string
	servicePort, port int
}

func (b *broker) url() string { return fmt.Sprintf("pulsar://127.0.0.1:%d", b.servicePort) }

func (b *broker) start() error {
	log, err := os.OpenFile(filepath.Join(*dir, "broker.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	b.command = exec.Command(*binary, "standalone", "--data", b.data,
		"--broker-port", fmt.Sprint(b.servicePort), "--web-port", fmt.Sprint(b.port))
	b.command.Stderr = log
	stdout, err := b.command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := b.command.Start(); err != nil {
		return err
	}
	running.Store(b.command)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "geminga ready: ") {
		b.kill()
		return fmt.Errorf("the broker did not start: %q, see broker.log", line)
	}
	return nil
}

func (b *broker) kill() {
	_ = b.command.Process.Kill() // SIGKILL
	_ = b.command.Wait()
}

// stop ends this program with a failure, and the broker with it.
func stop() {
	if command := running.Load(); command != nil {
		_ = command.Process.Kill()
	}
	os.Exit(1)
}

func freePort() int {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

func check(err error) {
	if err != nil {
		fmt.Println("FAIL", err)
		stop()
	}
}

// promises of one topic: what was receipted, and what was acknowledged for sure, by subscription.
type promises struct {
	sync.Mutex
	topic     string
	receipted map[string][]int // by producer
	next      map[string]int   // by producer, what it sends next
	acked     map[string]map[string]bool
	// acknowledgements asked for; without an answer they may or may not have been kept
	tried map[string]map[string]bool
}

func newPromises(topic string) *promises {
	p := &promises{topic: topic, receipted: map[string][]int{}, next: map[string]int{},
		acked: map[string]map[string]bool{}, tried: map[string]map[string]bool{}}
	for name := range subscriptions {
		p.tried[name] = map[string]bool{}
		p.acked[name] = map[string]bool{}
	}
	return p
}

// take gives out the producer's next number.
func (p *promises) take(producer string) int {
	p.Lock()
	defer p.Unlock()
	p.next[producer]++
	return p.next[producer] - 1
}

// full tells that its topic has enough.
func (p *promises) full() bool {
	p.Lock()
	defer p.Unlock()
	return p.next["p0"] > messagesPerProducer || p.next["p1"] > messagesPerProducer
}

func (p *promises) receipt(producer string, n int) {
	p.Lock()
	defer p.Unlock()
	p.receipted[producer] = append(p.receipted[producer], n)
}

func (p *promises) try(subscription, text string) {
	p.Lock()
	defer p.Unlock()
	p.tried[subscription][text] = true
}

func (p *promises) ack(subscription, text string) {
	p.Lock()
	defer p.Unlock()
	p.acked[subscription][text] = true
}

// all receipted messages.
func (p *promises) messages() map[string]bool {
	all := map[string]bool{}
	for producer, numbers := range p.receipted {
		for _, n := range numbers {
			all[fmt.Sprintf("%s/%d", producer, n)] = true
		}
	}
	return all
}

var subscriptions = map[string]pulsar.SubscriptionType{
	"cumulative": pulsar.Exclusive,
	"individual": pulsar.Shared,
	"batchindex": pulsar.Shared,
	"keyed":      pulsar.KeyShared,
	"never":      pulsar.Shared,
}

func connect(url string) (pulsar.Client, error) {
	quiet := logrus.New()
	quiet.SetLevel(logrus.FatalLevel)
	return pulsar.NewClient(pulsar.ClientOptions{URL: url, OperationTimeout: 10 * time.Second,
		ConnectionTimeout: 3 * time.Second, Logger: log.NewLoggerWithLogrus(quiet)})
}

// load publishes and consumes on one topic until the context ends. Nobody waits for its goroutines: the client may leave an
// acknowledgement without an answer for ever when it closes, and what comes after the end of the context does not count.
func load(ctx context.Context, client pulsar.Client, p *promises) error {
	for name, kind := range subscriptions {
		consumer, err := client.Subscribe(pulsar.ConsumerOptions{Topic: p.topic, SubscriptionName: name, Type: kind,
			SubscriptionInitialPosition:    pulsar.SubscriptionPositionEarliest,
			AckWithResponse:                true,
			EnableBatchIndexAcknowledgment: name == "batchindex",
			MaxPendingChunkedMessage:       1})
		if err != nil {
			return fmt.Errorf("subscribe %s: %w", name, err)
		}
		go consume(ctx, consumer, name, p)
	}
	for n := range 2 {
		name := fmt.Sprintf("p%d", n)
		producer, err := client.CreateProducer(pulsar.ProducerOptions{Topic: p.topic, Name: name,
			DisableBatching: n == 0, BatchingMaxPublishDelay: 2 * time.Millisecond, MaxPendingMessages: 500})
		if err != nil {
			return fmt.Errorf("producer %s: %w", name, err)
		}
		go func() {
			for ctx.Err() == nil {
				n := p.take(name)
				if n > 2*messagesPerProducer {
					return
				}
				if *sabotage == "receipts" && n == 50 {
					p.receipt(name, n)
					continue
				}
				message := pulsar.ProducerMessage{Payload: []byte(fmt.Sprintf("%s/%d", name, n)), Key: fmt.Sprint(n % 7)}
				producer.SendAsync(ctx, &message, func(_ pulsar.MessageID, _ *pulsar.ProducerMessage, err error) {
					if err == nil {
						p.receipt(name, n)
					}
				})
				if n%20 == 0 {
					time.Sleep(time.Millisecond)
				}
			}
		}()
	}
	return nil
}

func consume(ctx context.Context, consumer pulsar.Consumer, name string, p *promises) {
	var before []string
	for n := 0; ; n++ {
		message, err := consumer.Receive(ctx)
		if err != nil {
			return
		}
		text := string(message.Payload())
		switch name {
		case "cumulative":
			before = append(before, text)
			p.try(name, text)
			// Not at a batch's message: after an attempt that failed, the client says yes to the next without asking.
			if n%10 >= 9 && strings.HasPrefix(text, "p0/") {
				if confirmed(ctx, consumer.AckCumulative(message)) {
					for _, text := range before {
						p.ack(name, text)
					}
				}
				before = nil
			}
		case "never":
		default:
			// Some stay unacknowledged, so that there are islands.
			if n%5 == 2 {
				continue
			}
			p.try(name, text)
			if *sabotage == "acks" && n%50 == 0 || confirmed(ctx, consumer.Ack(message)) {
				p.ack(name, text)
			}
		}
	}
}

// confirmed tells that the broker answered an acknowledgement; a consumer that is being closed says so without asking.
func confirmed(ctx context.Context, err error) bool { return err == nil && ctx.Err() == nil }

// verify reads everything back and compares it with what was promised.
func verify(client pulsar.Client, p *promises) error {
	wanted := p.messages()
	reader, err := client.CreateReader(pulsar.ReaderOptions{Topic: p.topic, StartMessageID: pulsar.EarliestMessageID()})
	if err != nil {
		return fmt.Errorf("reader: %w", err)
	}
	defer reader.Close()
	seen, last := map[string]bool{}, map[string]int{"p0": -1, "p1": -1}
	for reader.HasNext() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		message, err := reader.Next(ctx)
		cancel()
		if err != nil {
			return fmt.Errorf("read %s: %w", p.topic, err)
		}
		text := string(message.Payload())
		var producer string
		var n int
		if _, err := fmt.Sscanf(strings.Replace(text, "/", " ", 1), "%s %d", &producer, &n); err != nil {
			return fmt.Errorf("%s holds what nobody sent: %q", p.topic, text)
		}
		if !seen[text] {
			if n < last[producer] {
				return fmt.Errorf("%s: %s came after %s/%d", p.topic, text, producer, last[producer])
			}
			last[producer] = n
		}
		seen[text] = true
	}
	for text := range wanted {
		if !seen[text] {
			return fmt.Errorf("%s: %s had a receipt and is gone (%d receipted, %d stored)", p.topic, text, len(wanted), len(seen))
		}
	}
	for name, kind := range subscriptions {
		if err := verifySubscription(client, p, name, kind, wanted); err != nil {
			return err
		}
	}
	return nil
}

func verifySubscription(client pulsar.Client, p *promises, name string, kind pulsar.SubscriptionType, wanted map[string]bool) error {
	consumer, err := client.Subscribe(pulsar.ConsumerOptions{Topic: p.topic, SubscriptionName: name, Type: kind,
		EnableBatchIndexAcknowledgment: name == "batchindex"})
	if err != nil {
		return fmt.Errorf("subscribe %s again: %w", name, err)
	}
	defer consumer.Close()
	acked := p.acked[name]
	owed := map[string]bool{}
	for text := range wanted {
		if !p.tried[name][text] {
			owed[text] = true
		}
	}
	missing := len(owed)
	got := map[string]bool{}
	for {
		// All that is owed has to come; when it has, a little longer shows that nothing else does.
		patience := 300 * time.Millisecond
		if missing > 0 {
			patience = 10 * time.Second
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		message, err := consumer.Receive(ctx)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			break
		}
		if err != nil {
			return fmt.Errorf("receive on %s: %w", name, err)
		}
		text := string(message.Payload())
		// A batch (p1 makes them) is acknowledged by its last message where the client does not use batch indexes.
		if acked[text] && (name == "batchindex" || strings.HasPrefix(text, "p0/")) {
			return fmt.Errorf("%s, %s: %s was acknowledged for sure and came back", p.topic, name, text)
		}
		if owed[text] && !got[text] {
			missing--
		}
		got[text] = true
	}
	if missing > 0 {
		var lost []string
		for text := range owed {
			if !got[text] {
				lost = append(lost, text)
			}
		}
		slices.SortFunc(lost, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
		return fmt.Errorf("%s, %s: %d messages were neither acknowledged nor delivered, %s to %s; %d were delivered",
			p.topic, name, missing, lost[0], lost[len(lost)-1], len(got))
	}
	return nil
}

func main() {
	flag.Parse()
	random := rand.New(rand.NewSource(*seed))
	check(os.RemoveAll(*dir))
	check(os.MkdirAll(*dir, 0o755))
	b := &broker{data: filepath.Join(*dir, "data"), servicePort: freePort(), port: freePort()}
	check(b.start())
	defer b.kill()
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() { <-interrupted; stop() }()
	admin := fmt.Sprintf("http://127.0.0.1:%d/admin/v2/namespaces/public/crash", b.port)
	put(http.MethodPut, admin, "")
	put(http.MethodPost, admin+"/retention", `{"retentionTimeInMinutes":-1,"retentionSizeInMB":-1}`)
	var receipts, acks atomic.Int64
	fmt.Printf("seed %d\n", *seed)
	var all, mine []*promises
	for round := 1; round <= *rounds; round++ {
		client, err := connect(b.url())
		check(err)
		ctx, cancel := context.WithCancel(context.Background())
		if slices.ContainsFunc(mine, (*promises).full) || round == 1 {
			mine = nil
			for n := range topicsPerRound {
				mine = append(mine, newPromises(fmt.Sprintf("persistent://public/crash/r%d-t%d", round, n)))
			}
			all = append(all, mine...)
		}
		for _, p := range mine {
			check(load(ctx, client, p))
		}
		time.Sleep(time.Duration(200+random.Intn(800)) * time.Millisecond)
		if round%3 > 0 {
			// Frozen in the middle of what it does, as by a machine that is moved; killed so in one round, after it went on in
			// another.
			check(b.command.Process.Signal(syscall.SIGSTOP))
			time.Sleep(time.Duration(100+random.Intn(1000)) * time.Millisecond)
			if round%3 == 1 {
				check(b.command.Process.Signal(syscall.SIGCONT))
				time.Sleep(time.Duration(random.Intn(300)) * time.Millisecond)
			}
		}
		b.kill()
		// What is still answered came before the kill.
		cancel()
		closed := make(chan struct{})
		go func() { client.Close(); close(closed) }()
		if *sabotage == "data" {
			check(os.RemoveAll(b.data))
		}
		// On new ports, so that what is left of the old client cannot come back and hold on to subscriptions.
		b.servicePort, b.port = freePort(), freePort()
		started := time.Now()
		check(b.start())
		up := time.Since(started)
		select {
		case <-closed:
		case <-time.After(2 * time.Second):
			// The client may wait for ever for the answer to an acknowledgement whose connection is gone.
		}
		client, err = connect(b.url())
		check(err)
		var failures sync.Map
		var verifying sync.WaitGroup
		again := mine
		if round%10 == 0 || round == *rounds {
			again = all // older rounds must stay as they were
		}
		for _, p := range again {
			verifying.Add(1)
			go func() {
				defer verifying.Done()
				p.Lock()
				defer p.Unlock()
				if err := verify(client, p); err != nil {
					failures.Store(p.topic, err)
				}
			}()
		}
		verifying.Wait()
		failures.Range(func(_, err any) bool {
			check(fmt.Errorf("round %d: %w", round, err.(error)))
			return true
		})
		client.Close()
		receipts.Store(0)
		acks.Store(0)
		for _, p := range all {
			for _, numbers := range p.receipted {
				receipts.Add(int64(len(numbers)))
			}
			for _, texts := range p.acked {
				acks.Add(int64(len(texts)))
			}
		}
		fmt.Printf("round %d: %d receipts and %d confirmed acknowledgements kept so far, up again in %v\n",
			round, receipts.Load(), acks.Load(), up.Round(time.Millisecond))
	}
	fmt.Printf("ok %d rounds of kill -9: every receipt and every acknowledgement was kept\n", *rounds)
}

func put(method, url, body string) {
	request, err := http.NewRequest(method, url, strings.NewReader(body))
	check(err)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	check(err)
	response.Body.Close()
	if response.StatusCode >= 300 {
		check(fmt.Errorf("%s %s: %s", method, url, response.Status))
	}
}
