// Package logutil logs to standard error, and keeps the lines for the log topic.
package logutil

import (
	"fmt"
	"os"
	"sync"
	"time"
)

var (
	mutex sync.Mutex
	lines []string
)

func line(level, text string) {
	text = fmt.Sprintf("%s [%s] %s\n", time.Now().Format("2006/01/02 15:04:05.000"), level, text)
	fmt.Fprint(os.Stderr, text)
	mutex.Lock()
	defer mutex.Unlock()
	lines = append(lines, text)
}

// Take returns the lines since it was last called.
func Take() []string {
	mutex.Lock()
	defer mutex.Unlock()
	taken := lines
	lines = nil
	return taken
}

func Info(v ...any)                  { line("info", fmt.Sprint(v...)) }
func Infof(format string, v ...any)  { line("info", fmt.Sprintf(format, v...)) }
func Error(v ...any)                 { line("error", fmt.Sprint(v...)) }
func Errorf(format string, v ...any) { line("error", fmt.Sprintf(format, v...)) }

// Fatal logs, and ends the program with 1.
func Fatal(v ...any) {
	line("fatal", fmt.Sprint(v...))
	os.Exit(1)
}
