// Command memberlist runs nodes of hashicorp/memberlist with its LAN defaults in one process, over loopback, and loses
// some of what they send, and says in JSON how long a death takes to be noticed, what a node sends, and who was held dead
// without being so.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand"
	"net"
	"os"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

type network struct {
	loss  float64
	bytes atomic.Int64
}

// lossy counts what is sent, with IP and UDP headers, and loses packets.
type lossy struct {
	*memberlist.NetTransport
	network *network
}

func (t *lossy) lost(size int) bool {
	t.network.bytes.Add(int64(size) + 28)
	return rand.Float64() < t.network.loss
}

func (t *lossy) WriteTo(data []byte, address string) (time.Time, error) {
	if t.lost(len(data)) {
		return time.Now(), nil
	}
	return t.NetTransport.WriteTo(data, address)
}

func (t *lossy) WriteToAddress(data []byte, address memberlist.Address) (time.Time, error) {
	if t.lost(len(data)) {
		return time.Now(), nil
	}
	return t.NetTransport.WriteToAddress(data, address)
}

type counted struct {
	net.Conn
	network *network
}

func (c *counted) Write(data []byte) (int, error) {
	c.network.bytes.Add(int64(len(data)) + 52)
	return c.Conn.Write(data)
}

// DialAddressTimeout waits as TCP does when a SYN or its answer is lost: a second, then twice as long.
func (t *lossy) DialAddressTimeout(address memberlist.Address, timeout time.Duration) (net.Conn, error) {
	delay := time.Duration(0)
	for again := time.Second; rand.Float64() < t.network.loss*(2-t.network.loss); again *= 2 {
		delay += again
	}
	time.Sleep(min(delay, timeout))
	if delay >= timeout {
		return nil, os.ErrDeadlineExceeded
	}
	connection, err := t.NetTransport.DialAddressTimeout(address, timeout)
	if err != nil {
		return nil, err
	}
	return &counted{connection, t.network}, nil
}

type watcher struct {
	mutex sync.Mutex
	left  []string
	at    []time.Time
}

func (w *watcher) NotifyJoin(*memberlist.Node)   {}
func (w *watcher) NotifyUpdate(*memberlist.Node) {}
func (w *watcher) NotifyLeave(node *memberlist.Node) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.left = append(w.left, node.Name)
	w.at = append(w.at, time.Now())
}

// noticed says how many seconds each node but the dead one took to hold it dead, of those that do.
func noticed(watchers []*watcher, died time.Time) []float64 {
	times := []float64{}
	for number, seen := range watchers {
		seen.mutex.Lock()
		for at, name := range seen.left {
			if number != 1 && name == "edge-1" {
				times = append(times, seen.at[at].Sub(died).Seconds())
				break
			}
		}
		seen.mutex.Unlock()
	}
	return times
}

// episode is how long a node's being held dead may take to reach everybody: it counts once.
const episode = 10 * time.Second

// heldDead takes away what was noticed so far: when each node was held dead by anybody.
func heldDead(watchers []*watcher) map[string][]time.Time {
	found := map[string][]time.Time{}
	for _, seen := range watchers {
		seen.mutex.Lock()
		for at, name := range seen.left {
			found[name] = append(found[name], seen.at[at])
		}
		seen.left, seen.at = nil, nil
		seen.mutex.Unlock()
	}
	for _, times := range found {
		sort.Slice(times, func(one, other int) bool { return times[one].Before(times[other]) })
	}
	return found
}

func main() {
	count := flag.Int("nodes", 10, "how many nodes")
	loss := flag.Float64("loss", 0, "part of the packets that is lost")
	calm := flag.Duration("calm", 30*time.Second, "how long to watch before the death")
	wait := flag.Duration("wait", 40*time.Second, "how long a death may take to be noticed by all; 0 for no death")
	flag.Parse()
	shared := &network{loss: *loss}
	lists, watchers := []*memberlist.Memberlist{}, []*watcher{}
	for number := range *count {
		name := fmt.Sprintf("edge-%d", number)
		config := memberlist.DefaultLANConfig()
		config.Name = name
		config.Logger = log.New(io.Discard, "", 0)
		transport, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{
			BindAddrs: []string{"127.0.0.1"}, Logger: config.Logger,
		})
		if err != nil {
			log.Fatal(err)
		}
		config.BindAddr, config.AdvertiseAddr = "127.0.0.1", "127.0.0.1"
		config.BindPort, config.AdvertisePort = transport.GetAutoBindPort(), transport.GetAutoBindPort()
		config.Transport = &lossy{transport, shared}
		seen := &watcher{}
		config.Events = seen
		list, err := memberlist.Create(config)
		if err != nil {
			log.Fatal(err)
		}
		lists, watchers = append(lists, list), append(watchers, seen)
		if number > 0 {
			first := lists[0].LocalNode()
			for {
				if _, err := list.Join([]string{first.Name + "/" + first.Address()}); err == nil {
					break
				}
			}
		}
	}
	time.Sleep(5 * time.Second)
	heldDead(watchers)
	before := shared.bytes.Load()
	time.Sleep(*calm)
	sent := shared.bytes.Load() - before
	false_ := 0
	for _, times := range heldDead(watchers) {
		for at, moment := range times {
			if at == 0 || moment.Sub(times[at-1]) > episode {
				false_++
			}
		}
	}
	died := time.Now()
	times := []float64{}
	if *wait > 0 {
		_ = lists[1].Shutdown()
	}
	for time.Since(died) < *wait && len(times) < *count-1 {
		time.Sleep(100 * time.Millisecond)
		times = noticed(watchers, died)
	}
	sort.Float64s(times)
	median := -1.0
	if len(times) > 0 {
		median = times[len(times)/2]
	}
	_ = json.NewEncoder(os.Stdout).Encode(map[string]any{
		"seconds":    median,
		"bytes":      float64(sent) / float64(*count) / calm.Minutes(),
		"false":      false_,
		"noticed_by": len(times),
	})
}
