package main

import (
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/keywright/keywright/bootstrap"
	"github.com/keywright/keywright/examples/internal/mounttest"
)

func TestFirstKey(t *testing.T) {
	gin.SetMode(gin.TestMode)
	secret := bootstrap.NewSecret()
	h, err := newHandler(secret)
	if err != nil {
		t.Fatal(err)
	}
	mounttest.FirstKey(t, h, secret)
}
