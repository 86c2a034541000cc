//go:build ignore

// A sink: each message becomes a file. Its name is the message's id, so that one that comes twice is written once. The standard library
// has all it needs:
//
//	go build archive.go
//
// Messages come as lines on stdin, what came of them goes as lines to stdout (docs/reference/process-protocol.md); stderr is the log.
package main

import (
	"bufio"
	"encoding/json"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"
)

// What Geminga says first.
type hello struct {
	UserConfig struct {
		Path string `json:"path"`
	} `json:"user_config"`
}

// What Geminga says then.
type request struct {
	Type    string `json:"type"`
	ID      uint64 `json:"id"`
	Message struct {
		ID            string `json:"id"`
		Payload       string `json:"payload"`
		PayloadBase64 []byte `json:"payload_base64"` // instead, where the payload is no text
	} `json:"message"`
}

// An outcome without error says that the message is where it should be; one with an error, that it has to come again.
type done struct {
	Type  string `json:"type"`
	ID    uint64 `json:"id"`
	Error string `json:"error,omitempty"`
}

func main() {
	log.SetFlags(0)
	in, out := json.NewDecoder(bufio.NewReader(os.Stdin)), json.NewEncoder(os.Stdout)
	var hello hello
	if err := in.Decode(&hello); err != nil {
		log.Fatal("hello: ", err)
	}
	directory := hello.UserConfig.Path
	if directory == "" {
		out.Encode(map[string]string{"type": "failed", "error": "configs has no path"})
		os.Exit(1)
	}
	out.Encode(map[string]string{"type": "ready", "runtime": "go"})
	for {
		var request request
		switch err := in.Decode(&request); {
		case err == io.EOF:
			return // nothing more to do
		case err != nil:
			log.Fatal(err)
		case request.Type == "invoke":
			outcome := done{Type: "done", ID: request.ID}
			if err := write(directory, request); err != nil {
				outcome.Error = err.Error()
			}
			if err := out.Encode(outcome); err != nil {
				log.Fatal(err)
			}
		}
	}
}

func write(directory string, request request) error {
	payload := request.Message.PayloadBase64
	if payload == nil {
		payload = []byte(request.Message.Payload)
	}
	name := filepath.Join(directory, strings.ReplaceAll(request.Message.ID, ":", "-"))
	if err := os.WriteFile(name+".tmp", payload, 0o644); err != nil {
		return err
	}
	return os.Rename(name+".tmp", name)
}
