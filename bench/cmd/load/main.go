// Command load asks Modbus requests, over mutual TLS or without, and judges every answer.
//
// It prints one JSON object a line: {"event":"ready"} once all connections stand, {"event":"measuring"} when
// the window begins, and {"event":"result",...} at the end. Whether errors are fatal is the harness's
// business; here they are counted by kind.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"dmz-gateway/bench/internal/epoll"
	"dmz-gateway/bench/internal/traffic"
)

type options struct {
	addresses             string
	ca, cert, key, server string
	plain                 bool
	connections, assets   int
	seconds, warmup       float64
	rate, writes          float64
	dialRate              float64
	seed                  uint64
	subject               string
	hold                  bool
}

func parse() options {
	var o options
	flag.StringVar(&o.addresses, "address", "", "host:port to connect to; with commas, connections take turns")
	flag.StringVar(&o.ca, "ca", "", "PEM file of the anchors that vouch for the server")
	flag.StringVar(&o.cert, "cert", "", "certificate chain, PEM")
	flag.StringVar(&o.key, "key", "", "its key, PEM")
	flag.StringVar(&o.server, "server-name", "localhost", "name that the server's certificate must carry")
	flag.BoolVar(&o.plain, "plain", false, "no TLS")
	flag.IntVar(&o.connections, "connections", 1, "connections, one request unanswered on each")
	flag.IntVar(&o.assets, "assets", 200, "unit numbers 1 to this are asked")
	flag.Float64Var(&o.seconds, "seconds", 5, "length of the measured window")
	flag.Float64Var(&o.warmup, "warmup", 1, "seconds before it, after everything was asked once")
	flag.Float64Var(&o.rate, "rate", 0, "requests a second; 0 is a closed loop")
	flag.Float64Var(&o.writes, "writes", 0.01, "share of writes")
	flag.Float64Var(&o.dialRate, "dial-rate", 80, "handshakes a second")
	flag.Uint64Var(&o.seed, "seed", 1, "of the dice")
	flag.StringVar(&o.subject, "subject", "", "process ids whose processor time is measured, with commas")
	flag.BoolVar(&o.hold, "hold", false, "ask once on each connection, then keep them open until stdin ends")
	flag.Parse()
	if o.connections < 1 || o.assets < 1 || o.assets > 255 {
		log.Fatal("load: connections must be at least 1, assets 1 to 255")
	}
	return o
}

func main() {
	o := parse()
	debug.SetGCPercent(400)
	punctual()
	clients := dialAll(o)
	say(map[string]any{"event": "ready"})
	poll, err := epoll.New()
	check(err)
	r := &run{poll: poll, mix: traffic.NewMix(o.assets, o.writes, o.seed), errors: map[string]int{}}
	for _, word := range strings.FieldsFunc(o.subject, func(c rune) bool { return c == ',' }) {
		pid, err := strconv.Atoi(word)
		check(err)
		r.subject = append(r.subject, pid)
	}
	check(r.start(clients))
	if o.hold {
		r.everyone = o.connections
		r.interval = time.Millisecond
		check(r.loop(func(time.Time) bool { return r.asked >= o.connections }))
		r.stopped = true
		until := time.Now().Add(patience)
		check(r.loop(func(now time.Time) bool { return r.unanswered() == 0 || now.After(until) }))
		say(map[string]any{"event": "holding", "connections": len(r.clients), "errors": r.errors})
		_, _ = io.Copy(io.Discard, os.Stdin)
		return
	}
	var interval time.Duration
	if o.rate > 0 {
		interval = time.Duration(float64(time.Second) / o.rate)
	}
	check(r.warm(o.connections, o.assets, interval, seconds(o.warmup)))
	say(map[string]any{"event": "measuring"})
	check(r.measure(seconds(o.seconds)))
	report(r, clients[0])
}

// punctual asks the kernel to wake this thread when it said, not up to 50 microseconds later (the default
// timer slack): in paced mode that would be counted as the subject's latency.
func punctual() {
	runtime.LockOSThread()
	const setTimerSlack = 29 // PR_SET_TIMERSLACK
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, setTimerSlack, 1, 0)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func check(err error) {
	if err != nil {
		log.Fatalf("load: %v", err)
	}
}

func say(object map[string]any) { check(json.NewEncoder(os.Stdout).Encode(object)) }

// dialAll connects one after the other, no faster than listeners let one address begin handshakes.
func dialAll(o options) []*client {
	var addresses []*net.TCPAddr
	for _, word := range strings.Split(o.addresses, ",") {
		address, err := net.ResolveTCPAddr("tcp4", word)
		check(err)
		addresses = append(addresses, address)
	}
	var config *tls.Config
	if !o.plain {
		config = configure(o)
	}
	clients := make([]*client, 0, o.connections)
	for i := range o.connections {
		next := time.Now().Add(seconds(1 / o.dialRate))
		c, err := dial(addresses[i%len(addresses)], config)
		if err != nil {
			log.Fatalf("load: connection %d: %v", len(clients)+1, err)
		}
		clients = append(clients, c)
		time.Sleep(time.Until(next))
	}
	return clients
}

// configure wants TLS 1.3 on P-256 with AES-256-GCM's server choosing, the same for every subject.
func configure(o options) *tls.Config {
	pair, err := tls.LoadX509KeyPair(o.cert, o.key)
	check(err)
	anchors, err := os.ReadFile(o.ca)
	check(err)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(anchors) {
		log.Fatalf("load: no certificate in %s", o.ca)
	}
	return &tls.Config{
		Certificates:     []tls.Certificate{pair},
		RootCAs:          pool,
		ServerName:       o.server,
		MinVersion:       tls.VersionTLS13,
		CurvePreferences: []tls.CurveID{tls.CurveP256},
	}
}

func report(r *run, first *client) {
	w := &r.window
	result := map[string]any{
		"event":    "result",
		"requests": len(w.latencies), "seconds": w.seconds, "cpu_s": w.cpu.Seconds(), "slices": w.slices,
		"latency_us": percentiles(w.latencies), "write_latency_us": percentiles(w.writes),
		"writes": len(w.writes), "errors": r.errors, "sample": r.sample, "unanswered": r.unanswered(),
		"sent_reads": r.sent.reads, "sent_writes": r.sent.writes, "tls": "none",
	}
	if secured, ok := first.stream.(*tls.Conn); ok {
		state := secured.ConnectionState()
		result["tls"] = fmt.Sprintf("%s %s %s",
			tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite), state.CurveID)
	}
	say(result)
}

func percentiles(of []time.Duration) map[string]float64 {
	if len(of) == 0 {
		return nil
	}
	slices.Sort(of)
	at := func(share float64) float64 {
		return float64(of[min(len(of)-1, int(share*float64(len(of))))].Nanoseconds()) / 1000
	}
	return map[string]float64{"p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999), "max": at(1)}
}
