//go:build ignore

// A source: files that come into a directory, each of them a message, deleted when it is durable. The standard library has all it needs:
//
//	go build inbox.go
//
// Records go as lines to stdout, what became of them comes as lines on stdin (docs/reference/process-protocol.md); stderr is the log.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// What Geminga says; each line has some of it.
type request struct {
	Type       string `json:"type"`
	UserConfig struct {
		Path string `json:"path"`
	} `json:"user_config"`
	IDs   []uint64 `json:"ids"`
	Error string   `json:"error"`
}

type record struct {
	Payload []byte `json:"payload_base64"`
	Key     string `json:"key,omitempty"`
}

// At most so many records are on their way; Geminga wants no more.
var slots = make(chan struct{}, 1000)

// Files on their way, by the number of their record.
var (
	lock       sync.Mutex
	onTheirWay = map[uint64]string{}
	taken      = map[string]bool{}
)

// One line each, written whole.
var out = json.NewEncoder(os.Stdout)

func main() {
	log.SetFlags(0)
	in := json.NewDecoder(bufio.NewReader(os.Stdin))
	var hello request
	if err := in.Decode(&hello); err != nil {
		log.Fatal("hello: ", err)
	}
	inbox := hello.UserConfig.Path
	if _, err := os.ReadDir(inbox); err != nil {
		say(map[string]string{"type": "failed", "error": err.Error()})
		os.Exit(1)
	}
	say(map[string]string{"type": "ready", "runtime": "go"})
	go emit(inbox)
	for {
		var receipt request
		switch err := in.Decode(&receipt); {
		case err == io.EOF:
			return // nobody wants more
		case err != nil:
			log.Fatal(err)
		case receipt.Type == "emitted":
			settle(receipt)
		}
	}
}

func emit(inbox string) {
	for id := uint64(0); ; time.Sleep(200 * time.Millisecond) {
		entries, err := os.ReadDir(inbox)
		if err != nil {
			log.Fatal(err) // another instance is started, and says the same until it is there again
		}
		for _, entry := range entries {
			path := filepath.Join(inbox, entry.Name())
			if !take(path) {
				continue
			}
			payload, err := os.ReadFile(path)
			if err != nil {
				log.Print(err) // gone again, or no file: it is looked for again
				giveBack(path)
				continue
			}
			slots <- struct{}{}
			id++
			lock.Lock()
			onTheirWay[id] = path
			lock.Unlock()
			say(map[string]any{"type": "emit", "id": id, "record": record{payload, entry.Name()}})
		}
	}
}

func take(path string) bool {
	lock.Lock()
	defer lock.Unlock()
	if taken[path] {
		return false
	}
	taken[path] = true
	return true
}

func giveBack(path string) {
	lock.Lock()
	defer lock.Unlock()
	delete(taken, path)
}

// settle deletes what is durable. What could not be stored stays, and is tried again.
func settle(receipt request) {
	for _, id := range receipt.IDs {
		lock.Lock()
		path := onTheirWay[id]
		delete(onTheirWay, id)
		lock.Unlock()
		<-slots
		if receipt.Error != "" {
			log.Printf("%s was not stored: %s", path, receipt.Error)
		} else if err := os.Remove(path); err != nil {
			log.Print(err)
			continue // or it would be sent again and again
		}
		giveBack(path)
	}
}

func say(message any) {
	if err := out.Encode(message); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
