// Command mosn is MOSN with what an HTTP/1.1 and a Bolt proxy need and nothing else: the peer of the http1, latency, memory and
// bolt suites.
//
// MOSN publishes no binary for every platform, but its packages are a Go module; this program links them.
package main

import (
	"flag"
	"log"

	"github.com/urfave/cli"
	"mosn.io/api"
	_ "mosn.io/mosn/pkg/filter/network/proxy"
	"mosn.io/mosn/pkg/mosn"
	_ "mosn.io/mosn/pkg/network"
	_ "mosn.io/mosn/pkg/protocol"
	"mosn.io/mosn/pkg/protocol/xprotocol"
	"mosn.io/mosn/pkg/protocol/xprotocol/bolt"
	_ "mosn.io/mosn/pkg/router"
	"mosn.io/mosn/pkg/stagemanager"
	_ "mosn.io/mosn/pkg/stream/http"
	xstream "mosn.io/mosn/pkg/stream/xprotocol"
)

func main() {
	path := flag.String("c", "", "configuration file (MOSN's JSON)")
	flag.Parse()
	registerBolt()
	application := mosn.NewMosn()
	none := flag.NewFlagSet("mosn", flag.ExitOnError)
	stages := stagemanager.InitStageManager(cli.NewContext(cli.NewApp(), none, nil), *path, application)
	stages.AppendInitStage(mosn.DefaultInitStage)
	stages.AppendPreStartStage(mosn.DefaultPreStartStage)
	stages.AppendStartStage(mosn.DefaultStartStage)
	stages.RunAll()
}

// registerBolt does what MOSN's own main does for each RPC protocol.
func registerBolt() {
	xprotocol.RegisterXProtocolAction(xstream.NewConnPool, xstream.NewStreamFactory, func(codec api.XProtocolCodec) {
		_ = codec.ProtocolName()
	})
	if err := xprotocol.RegisterXProtocolCodec(&bolt.XCodec{}); err != nil {
		log.Fatal(err)
	}
}
