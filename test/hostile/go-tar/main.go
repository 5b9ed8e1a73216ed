// Lists tars as Go's archive/tar reads them: on standard input each with its length in front (4 bytes, big-endian),
// on standard output a line of JSON for each. Bytes that may be no UTF-8 are in base64.
package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
)

type entry struct {
	Name, Link []byte
	Type       string
	Mode       int64
	Uid, Gid   int
	Size       int64
	Sec        int64
	Nsec       int
	Dev        [2]int64
	Sha256     string
}

type listing struct {
	Entries []entry
	Error   string
}

// A sparse file may be of any size: the sum of its first bytes must do.
const maxContent = 1 << 24

func list(archive []byte) (result listing) {
	reader := tar.NewReader(bytes.NewReader(archive))
	for {
		header, err := reader.Next()
		if err == io.EOF {
			return result
		}
		if err != nil {
			result.Error = err.Error()
			return result
		}
		sum := sha256.New()
		if _, err := io.CopyN(sum, reader, maxContent); err != nil && err != io.EOF {
			result.Error = err.Error()
			return result
		}
		result.Entries = append(result.Entries, entry{
			Name: []byte(header.Name), Link: []byte(header.Linkname), Type: string(rune(header.Typeflag)),
			Mode: header.Mode, Uid: header.Uid, Gid: header.Gid, Size: header.Size,
			Sec: header.ModTime.Unix(), Nsec: header.ModTime.Nanosecond(),
			Dev: [2]int64{header.Devmajor, header.Devminor}, Sha256: hex.EncodeToString(sum.Sum(nil)),
		})
	}
}

func main() {
	input := bufio.NewReader(os.Stdin)
	output := json.NewEncoder(os.Stdout)
	for {
		var length uint32
		if binary.Read(input, binary.BigEndian, &length) != nil {
			return
		}
		archive := make([]byte, length)
		if _, err := io.ReadFull(input, archive); err != nil {
			panic(err)
		}
		if err := output.Encode(list(archive)); err != nil {
			panic(err)
		}
	}
}
