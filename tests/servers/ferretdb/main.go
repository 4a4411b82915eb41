// A server that speaks MongoDB's wire protocol over SQLite, for tests: FerretDB's embeddable package and nothing more.
// (Its own command refuses to start when it was built as a dependency.)
package main

import (
	"context"
	"flag"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:27017", "host:port")
	folder := flag.String("folder", "data", "where the databases are kept")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	server, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{TCP: *listen},
		Handler:   "sqlite",
		SQLiteURL: "file:" + *folder + "/",
		Logger:    slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		slog.Error(err.Error())
		os.Exit(1)
	}
	if err := server.Run(ctx); err != nil && ctx.Err() == nil {
		slog.Error(err.Error())
		os.Exit(1)
	}
}
