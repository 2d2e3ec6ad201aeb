// Command writer is the bare client that the benchmark holds Roost against: it POSTs objects to an API server as fast as it
// goes. Usage: writer URL CA_FILE TOKEN WORKERS; standard input: a line for each session, a JSON array of {"path","body"},
// whose objects are written one after the other; answers one line of JSON.
package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

type object struct {
	Path string          `json:"path"`
	Body json.RawMessage `json:"body"`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "writer:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 4 {
		return fmt.Errorf("usage: writer URL CA_FILE TOKEN WORKERS")
	}
	authority, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	workers, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: workers}}

	sessions, err := read(os.Stdin)
	if err != nil {
		return err
	}
	next := make(chan []object)
	var group sync.WaitGroup
	var written atomic.Int64
	var failed atomic.Value
	began := time.Now()
	for i := 0; i < workers; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for session := range next {
				if failed.Load() != nil {
					continue // what is left is taken, and not written
				}
				for _, item := range session {
					if err := post(client, args[0]+item.Path, args[2], item.Body); err != nil {
						failed.Store(err)
						break
					}
					written.Add(1)
				}
			}
		}()
	}
	for _, session := range sessions {
		next <- session
	}
	close(next)
	group.Wait()
	if err, ok := failed.Load().(error); ok {
		return err
	}
	fmt.Printf("{\"objects\":%d,\"seconds\":%.6f}\n", written.Load(), time.Since(began).Seconds())
	return nil
}

func read(from io.Reader) ([][]object, error) {
	var sessions [][]object
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var session []object
		if err := json.Unmarshal(lines.Bytes(), &session); err != nil {
			return nil, err
		}
		sessions = append(sessions, session)
	}
	return sessions, lines.Err()
}

func post(client *http.Client, url, token string, body []byte) error {
	request, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusCreated {
		return fmt.Errorf("%s: %d %.200s", url, response.StatusCode, answer)
	}
	return nil
}
