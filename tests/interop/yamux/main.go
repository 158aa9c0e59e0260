// Command yamux-peer is the other end of the interop tests: HashiCorp's yamux as server or as client.
//
// As server it takes streams; the first line of each is what to do:
//
//	echo       send back everything, then close
//	count      read to the end, then answer with the number of bytes and their SHA-256
//	send N     send N bytes, then close
//	goaway     tell the other end to open no more streams
//
// As client it opens streams, sends each some data, closes its half, expects the same data back and exits 0.
package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
)

func serve(session *yamux.Session) error {
	for {
		stream, err := session.AcceptStream()
		if err != nil {
			return nil // the other end is gone
		}
		go func() {
			defer stream.Close()
			reader := bufio.NewReader(stream)
			line, err := reader.ReadString('\n')
			if err != nil {
				return
			}
			if err := command(session, stream, reader, strings.TrimSpace(line)); err != nil {
				fmt.Fprintln(os.Stderr, line, err)
			}
		}()
	}
}

func command(session *yamux.Session, stream *yamux.Stream, reader io.Reader, line string) error {
	name, argument, _ := strings.Cut(line, " ")
	switch name {
	case "echo":
		_, err := io.Copy(stream, reader)
		return err
	case "count":
		digest := sha256.New()
		size, err := io.Copy(digest, reader)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(stream, "%d %x", size, digest.Sum(nil))
		return err
	case "send":
		var size int64
		if _, err := fmt.Sscan(argument, &size); err != nil {
			return err
		}
		_, err := io.Copy(stream, io.LimitReader(repeated{}, size))
		return err
	case "goaway":
		return session.GoAway()
	}
	return fmt.Errorf("unknown command %q", line)
}

// repeated is an endless run of the letter x.
type repeated struct{}

func (repeated) Read(into []byte) (int, error) {
	for i := range into {
		into[i] = 'x'
	}
	return len(into), nil
}

func exchange(session *yamux.Session, size int) error {
	stream, err := session.OpenStream()
	if err != nil {
		return err
	}
	data := make([]byte, size)
	if _, err := rand.Read(data); err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() {
		_, err := stream.Write(data)
		if err == nil {
			err = stream.Close() // sends FIN; the other half stays open
		}
		sent <- err
	}()
	back, err := io.ReadAll(stream)
	if err != nil {
		return err
	}
	if err := <-sent; err != nil {
		return err
	}
	if !bytes.Equal(back, data) {
		return fmt.Errorf("%d of %d bytes came back, or others", len(back), size)
	}
	return nil
}

func request(session *yamux.Session, streams, size int) error {
	if _, err := session.Ping(); err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	failures := make(chan error, streams)
	var group sync.WaitGroup
	for range streams {
		group.Add(1)
		go func() {
			defer group.Done()
			if err := exchange(session, size); err != nil {
				failures <- err
			}
		}()
	}
	group.Wait()
	close(failures)
	return <-failures
}

func run() error {
	role := flag.String("role", "server", "server or client")
	address := flag.String("address", "", "what to listen on, or to dial")
	streams := flag.Int("streams", 1, "streams a client opens at once")
	size := flag.Int("size", 1, "bytes a client sends on each")
	flag.Parse()
	config := yamux.DefaultConfig()
	config.LogOutput = os.Stderr
	config.ConnectionWriteTimeout = 20 * time.Second
	config.AcceptBacklog = 1024
	if *role == "server" {
		listener, err := net.Listen("tcp", *address)
		if err != nil {
			return err
		}
		fmt.Println(listener.Addr())
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		session, err := yamux.Server(connection, config)
		if err != nil {
			return err
		}
		return serve(session)
	}
	connection, err := net.Dial("tcp", *address)
	if err != nil {
		return err
	}
	session, err := yamux.Client(connection, config)
	if err != nil {
		return err
	}
	defer session.Close()
	return request(session, *streams, *size)
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
