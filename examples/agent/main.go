// Command agent is an agent on the command line. It enrols once, keeps the handle of
// its key and the name of its provider in a configuration file, and gets tokens and
// signs requests with that key from then on.
//
//	agent enrol -provider https://agents.example
//	agent get https://resource.example/data
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
)

const usage = `usage: agent [-config agent.json] command

  enrol -provider URL   make a key and have it known by an agent provider
  token                 print an agent token
  get URL               send a signed request
  keys list             the handles of the keys in the key store
  keys delete HANDLE    delete a key for good
  rotate                another key for the same agent
`

// A command does one thing for who has called it by its name.
type command func(ctx context.Context, c *config, args []string) error

var commands = map[string]command{"enrol": enrol, "token": token, "get": get, "keys": keys, "rotate": rotate}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("agent", flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(flags.Output(), usage) }
	path := flags.String("config", "agent.json", "configuration file")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	do, ok := commands[flags.Arg(0)]
	if !ok {
		return fmt.Errorf("unknown command %q\n%s", flags.Arg(0), usage)
	}
	c, err := readConfig(*path)
	if err != nil {
		return err
	}
	return do(ctx, c, flags.Args()[1:])
}
