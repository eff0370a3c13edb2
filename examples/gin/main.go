// Command gin serves the bootstrap endpoint and a protected /whoami on gin. It
// keeps everything in memory, so each start is a fresh installation.
package main

import (
	"flag"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/bootstrap"
	"github.com/keywright/keywright/examples/gin/ginkw"
	"github.com/keywright/keywright/store"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "address to listen on")
	flag.Parse()
	gin.SetMode(gin.ReleaseMode)
	secret, err := bootstrap.SecretFromEnv()
	if err != nil {
		log.Fatal(err)
	}
	if secret == "" {
		secret = bootstrap.NewSecret()
		if err := printCommand("http://"+*addr, secret); err != nil {
			log.Fatal(err)
		}
	}
	handler, err := newHandler(secret)
	if err != nil {
		log.Fatal(err)
	}
	srv := &http.Server{Addr: *addr, Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	log.Fatal(srv.ListenAndServe())
}

func newHandler(secret string) (http.Handler, error) {
	host, err := keywright.NewHost(keywright.HostConfig{
		Store: &store.Memory{},
		Kinds: map[string]string{"admin": "kw_admin"},
	})
	if err != nil {
		return nil, err
	}
	boot, err := bootstrap.New(bootstrap.Config{
		Host:   host,
		Secret: secret,
		Key:    bootstrap.AdminKey{Kind: "admin", Scopes: []string{"admin"}},
	})
	if err != nil {
		return nil, err
	}
	engine := gin.New()
	engine.Use(gin.Logger(), gin.Recovery())
	ginkw.Mount(engine, boot.Routes()...)
	engine.GET("/whoami", ginkw.Require(host.Keys.Of("admin")), whoami)
	return keywright.NoRedirect(engine), nil
}

func whoami(c *gin.Context) {
	p, _ := keywright.FromContext(c.Request.Context())
	c.JSON(http.StatusOK, p)
}

// printCommand prints how to obtain the first admin key.
func printCommand(url, secret string) error {
	token, err := bootstrap.Client{Secret: secret}.Token(time.Now())
	if err != nil {
		return err
	}
	fmt.Printf("curl -X POST -H 'Authorization: Connect-Bootstrap %s' %s%s\n", token, url, bootstrap.Path)
	return nil
}
