package apptoken

import (
	"context"
	"net/http"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/store"
)

type ZeroTouch struct{ Enabled bool }

type zeroTouch struct{}

func newZeroTouch(keywright.Host, ZeroTouch) (*zeroTouch, error) { return &zeroTouch{}, nil }

func (z *zeroTouch) Authenticate(*http.Request) (keywright.Principal, error) {
	return keywright.Principal{}, keywright.ErrNoCredential
}

func (z *zeroTouch) Challenge() string { return "" }

func (z *zeroTouch) minting(context.Context, keywright.Principal) ([]store.Op, time.Duration, error) {
	return nil, 0, nil
}
