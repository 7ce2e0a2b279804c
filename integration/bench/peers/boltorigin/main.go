// Command boltorigin answers Bolt requests (v1 and v2) with a body of a fixed size: the endpoint of the bolt suite.
//
// It reads what is there, answers every whole frame of it, and writes all answers at once.
package main

import (
	"encoding/binary"
	"flag"
	"log"
	"net"
)

var class = []byte("com.alipay.sofa.rpc.core.response.SofaResponse")

func main() {
	address := flag.String("listen", "127.0.0.1:0", "address")
	size := flag.Int("body", 100, "bytes of content in an answer")
	flag.Parse()
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		log.Fatal(err)
	}
	body := make([]byte, *size)
	for {
		socket, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go serve(socket, body)
	}
}

func serve(socket net.Conn, body []byte) {
	defer socket.Close()
	in := make([]byte, 1<<18)
	out := make([]byte, 0, 1<<18)
	held := 0
	for {
		n, err := socket.Read(in[held:])
		if err != nil {
			return
		}
		held += n
		done := 0
		out = out[:0]
		for held-done >= 22 {
			frame := in[done:held]
			head := 22
			if frame[0] == 2 {
				head = 24
			}
			if len(frame) < head {
				break
			}
			lengths := head - 8
			total := head + int(binary.BigEndian.Uint16(frame[lengths:])) + int(binary.BigEndian.Uint16(frame[lengths+2:])) +
				int(binary.BigEndian.Uint32(frame[lengths+4:]))
			if total > len(in) {
				return
			}
			if len(frame) < total {
				break
			}
			out = answer(out, frame, head, body)
			done += total
		}
		held = copy(in, in[done:held])
		if len(out) > 0 {
			if _, err := socket.Write(out); err != nil {
				return
			}
		}
	}
}

// answer appends the response to a request; one-way requests have none, heartbeats one without content.
func answer(out, request []byte, head int, body []byte) []byte {
	at := head - 22 // 0 in v1; in v2 the type and all after it come one byte later
	if at == 2 {
		at = 1
	}
	kind, command := request[1+at], binary.BigEndian.Uint16(request[2+at:])
	if kind == 2 {
		return out
	}
	name, content := class, body
	if command == 0 {
		name, content = nil, nil
	} else {
		command = 2
	}
	out = append(out, request[0])
	if at == 1 {
		out = append(out, request[1])
	}
	out = append(out, 0)
	out = binary.BigEndian.AppendUint16(out, command)
	out = append(out, request[4+at:10+at]...) // version, identifier, codec
	if at == 1 {
		out = append(out, 0) // switches: no check sum
	}
	out = append(out, 0, 0) // status: success
	out = binary.BigEndian.AppendUint16(out, uint16(len(name)))
	out = append(out, 0, 0)
	out = binary.BigEndian.AppendUint32(out, uint32(len(content)))
	out = append(out, name...)
	return append(out, content...)
}
