// Command mosn is MOSN with what an HTTP/1.1 proxy needs and nothing else: the peer of the http1, latency and memory suites.
//
// MOSN publishes no binary for every platform, but its packages are a Go module; this program links them.
package main

import (
	"flag"

	"github.com/urfave/cli"
	_ "mosn.io/mosn/pkg/filter/network/proxy"
	"mosn.io/mosn/pkg/mosn"
	_ "mosn.io/mosn/pkg/network"
	_ "mosn.io/mosn/pkg/protocol"
	_ "mosn.io/mosn/pkg/router"
	"mosn.io/mosn/pkg/stagemanager"
	_ "mosn.io/mosn/pkg/stream/http"
)

func main() {
	path := flag.String("c", "", "configuration file (MOSN's JSON)")
	flag.Parse()
	application := mosn.NewMosn()
	none := flag.NewFlagSet("mosn", flag.ExitOnError)
	stages := stagemanager.InitStageManager(cli.NewContext(cli.NewApp(), none, nil), *path, application)
	stages.AppendInitStage(mosn.DefaultInitStage)
	stages.AppendPreStartStage(mosn.DefaultPreStartStage)
	stages.AppendStartStage(mosn.DefaultStartStage)
	stages.RunAll()
}
