// Command vespiary hosts AI agents as WebAssembly plugins.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/vespiary/vespiary/host/internal/app"
	"github.com/vespiary/vespiary/host/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Run(ctx, os.Args[1:], cli.Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, app.App{})
	stop()
	os.Exit(code)
}
