package agentauth_test

import (
	"crypto/ed25519"
	"io"
	"net/http"
	"testing"

	"github.com/keywright/keywright/agentauth"
)

// An errandWorld is an agent with its provider, a person server and a shop, all in
// this process.
type errandWorld struct {
	*world
	desk    *desk
	shop    *shop
	servers local
	agent   ed25519.PrivateKey
	token   string
	person  agentauth.PersonServerConfig
	client  *http.Client
}

const shopURL = "https://shop.example/data"

func newErrandWorld(t *testing.T, edit func(*agentauth.PersonServerConfig)) *errandWorld {
	t.Helper()
	w := &errandWorld{world: newWorld(t, worldConfig{}), agent: newEd25519(t)}
	w.token = w.enroll(w.agent, `{"agent_id":"aauth:helper@ap.example","ps":"https://ps.example"}`)
	w.desk = &desk{personServer: &personServer{t: t, clock: w.clock, id: "https://ps.example", key: newEd25519(t)}, agent: w.agent}
	w.shop = newShop(t, w.clock, w.desk.id, w.agent)
	w.servers = local{"ap.example": w.mux, "ps.example": w.desk.handler(w.world), "shop.example": w.shop}
	w.person = agentauth.PersonServerConfig{HTTP: &http.Client{Transport: w.servers}, Now: w.clock.Now}
	if edit != nil {
		edit(&w.person)
	}
	identity, err := agentauth.FixedIdentity(w.agent, agentauth.SignOptions{Token: w.token})
	must(t, err)
	w.client = w.as(identity)
	return w
}

// as makes the client of an identity.
func (w *errandWorld) as(identity agentauth.Identity) *http.Client {
	w.t.Helper()
	person, err := agentauth.NewPersonServer(w.person)
	must(w.t, err)
	transport, err := agentauth.NewTransport(agentauth.TransportConfig{
		Identity: identity, Origins: []string{w.shop.id, issuer}, Next: w.servers, Person: person, Now: w.clock.Now, Development: w.person.Development,
	})
	must(w.t, err)
	return &http.Client{Transport: transport}
}

// fetch gets a URL, and the status of the answer.
func (w *errandWorld) fetch(url string) (int, error) {
	resp, err := w.client.Get(url)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, nil
}
