// tlog-oracle holds a tlog-tiles folder against another implementation: golang.org/x/mod/sumdb (BSD-3-Clause).
//
//	tlog-oracle DIR VKEY [PROOF...]
//
// It opens DIR/checkpoint by sumdb/note, hashes every record of the entry bundles by sumdb/tlog and compares the
// root, reads the same tree from the tiles, and checks each .tlog-proof by tlog.CheckRecord. One line a finding.
package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(1)
}

func read(path string) []byte {
	data, err := os.ReadFile(path)
	if err != nil {
		fail("%v", err)
	}
	return data
}

func checkpoint(data []byte, vkey string) (int64, tlog.Hash) {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		fail("key: %v", err)
	}
	opened, err := note.Open(data, note.VerifierList(verifier))
	if err != nil {
		fail("checkpoint: %v", err)
	}
	lines := strings.Split(opened.Text, "\n")
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		fail("size: %v", err)
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		fail("root: %v", err)
	}
	return size, root
}

// path is tlog-tiles', which is sumdb's without the height: tile/8/L/N becomes tile/L/N, tile/8/data tile/entries.
func path(t tlog.Tile) string {
	return "tile/" + strings.Replace(strings.TrimPrefix(t.Path(), "tile/8/"), "data/", "entries/", 1)
}

type stored []tlog.Hash

func (s stored) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, len(indexes))
	for i, at := range indexes {
		found[i] = s[at]
	}
	return found, nil
}

type tiles struct{ dir string }

func (t tiles) Height() int                         { return 8 }
func (t tiles) SaveTiles(_ []tlog.Tile, _ [][]byte) {}
func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	found := make([][]byte, len(wanted))
	for i, tile := range wanted {
		data, err := os.ReadFile(filepath.Join(t.dir, path(tile)))
		if err != nil {
			return nil, err
		}
		found[i] = data
	}
	return found, nil
}

func records(dir string, size int64) [][]byte {
	var found [][]byte
	for n := int64(0); int64(len(found)) < size; n++ {
		width := min(256, size-n*256)
		data := read(filepath.Join(dir, path(tlog.Tile{H: 8, L: -1, N: n, W: int(width)})))
		for len(data) > 0 {
			length := int(data[0])<<8 | int(data[1])
			found = append(found, data[2:2+length])
			data = data[2+length:]
		}
	}
	return found
}

func proof(file, vkey string) {
	head, signed, _ := strings.Cut(string(read(file)), "\n\n")
	size, root := checkpoint([]byte(signed), vkey)
	lines := strings.Split(head, "\n")
	record, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(lines[1], "extra "))
	if err != nil || lines[0] != "c2sp.org/tlog-proof@v1" {
		fail("%s: not a proof with its record", file)
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[2], "index "), 10, 64)
	if err != nil {
		fail("%s: %v", file, err)
	}
	var hashes tlog.RecordProof
	for _, line := range lines[3:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			fail("%s: %v", file, err)
		}
		hashes = append(hashes, hash)
	}
	if err := tlog.CheckRecord(hashes, size, root, index, tlog.RecordHash(record)); err != nil {
		fail("%s: %v", file, err)
	}
	fmt.Println("proof", index)
}

func main() {
	dir, vkey := os.Args[1], os.Args[2]
	size, root := checkpoint(read(filepath.Join(dir, "checkpoint")), vkey)
	var hashes stored
	for i, data := range records(dir, size) {
		added, err := tlog.StoredHashes(int64(i), data, hashes)
		if err != nil {
			fail("record %d: %v", i, err)
		}
		hashes = append(hashes, added...)
	}
	built, err := tlog.TreeHash(size, hashes)
	if err != nil || built != root {
		fail("the records have root %v, signed is %v (%v)", built, root, err)
	}
	fmt.Println("records", size)
	tree := tlog.Tree{N: size, Hash: root}
	last := []int64{tlog.StoredHashIndex(0, 0), tlog.StoredHashIndex(0, size-1)}
	if _, err := tlog.TileHashReader(tree, tiles{dir}).ReadHashes(last); err != nil {
		fail("tiles: %v", err)
	}
	fmt.Println("tiles", size)
	for _, file := range os.Args[3:] {
		proof(file, vkey)
	}
}
