package agentauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/egress"
	"github.com/keywright/keywright/internal/endpoint"
	"github.com/keywright/keywright/store"
)

const (
	revokeBudget = 30 * time.Second // for all that one call asks of person servers
	revokeEach   = 5 * time.Second  // for one token, or the metadata of one server
	maxRevoked   = 1000             // tokens of one call
	revokeBatch  = 100              // tokens of one Commit
	maxAnswer    = 64 << 10         // bytes of an answer that nobody reads
)

// RevokeTokens withdraws the agent tokens of an agent and of its sub-agents: on
// this server at once, and at the person server that the tokens name, which ends
// what it has issued for them (AAuth, section "Revocation"). Resources elsewhere
// that take agent tokens as they are accept them until they expire. Of an agent
// without a person server no tokens are known: to disable it is enough here.
//
// An agent that is not disabled gets new tokens, so disable it first. Neither
// disabling nor deleting an agent calls this: it asks servers that agents have
// chosen, and takes up to 30 seconds, or until ctx ends.
//
// The error is [keywright.CodeNotFound] for an identifier that is not the
// provider's or that nobody has ever had, and [keywright.CodeUnavailable] if a
// person server was not told of every token, or there are more than 1,000. Call it
// again then: it goes on with those that are left. A person server that answers
// 202 has been told.
//
// A person server is reached under the rules of [Network], and only at its own
// origin, whatever its metadata say.
func (p *Provider) RevokeTokens(ctx context.Context, actor keywright.Principal, agentID string) error {
	_, o, err := p.agentByID(ctx, agentID)
	switch {
	case err != nil:
		return err
	case o == nil || !p.names(agentID):
		return keywright.Errorf(keywright.CodeNotFound, "no agent of this identifier")
	}
	tokens, err := p.revocables(ctx, agentID)
	if err != nil {
		return err
	}
	more := len(tokens) > maxRevoked
	tokens = tokens[:min(len(tokens), maxRevoked)]
	for batch := range slices.Chunk(tokens, revokeBatch) {
		if err := p.revokeHere(ctx, actor, agentID, batch); err != nil {
			return err
		}
	}
	left, err := p.revokeThere(ctx, tokens)
	switch {
	case err != nil:
		return &keywright.Error{Code: keywright.CodeUnavailable, Detail: fmt.Sprintf("of %d tokens, %d are not revoked at the person server yet", len(tokens), left), Err: err}
	case more:
		return keywright.Errorf(keywright.CodeUnavailable, "the agent has more than %d tokens: some are not revoked yet", maxRevoked)
	}
	return nil
}

// A liveToken is a token that a person server has not been told of yet.
type liveToken struct {
	revocable
	record store.Record
}

// revocables lists those of an agent, up to one too many.
func (p *Provider) revocables(ctx context.Context, agentID string) ([]liveToken, error) {
	var list []liveToken
	for r, err := range p.host.Store.List(ctx, store.Query{Kind: KindAgentToken, Prefix: p.tokensOf(agentID), Limit: maxRevoked + 1}) {
		if err != nil {
			return nil, keywright.Wrap(keywright.CodeUnavailable, err)
		}
		t := liveToken{record: r}
		if err := json.Unmarshal(r.Data, &t.revocable); err != nil {
			return nil, fmt.Errorf("agentauth: record of an agent token: %w", err)
		}
		list = append(list, t)
	}
	return list, nil
}

// revokeHere marks tokens for the verifiers of this server.
func (p *Provider) revokeHere(ctx context.Context, actor keywright.Principal, agentID string, tokens []liveToken) error {
	ops := make([]store.Op, len(tokens))
	for i, t := range tokens {
		ops[i] = revocation(p.issuer, t.ID, t.record.Expires)
	}
	e := keywright.Event{Name: "agent.tokens_revoked", Actor: actor.Credential, Target: agentID, Attrs: map[string]string{"tokens": strconv.Itoa(len(tokens))}}
	return endpoint.Retry(func() error { return p.host.Commit(ctx, e, ops...) })
}

// revokeThere tells the person servers. It returns how many tokens are left, and
// why.
func (p *Provider) revokeThere(ctx context.Context, tokens []liveToken) (left int, err error) {
	budget, cancel := context.WithTimeout(ctx, revokeBudget)
	defer cancel()
	endpoints := make(map[string]revocationEndpoint) // by person server
	causes := make(map[string]error)                 // by text: most will be the same
	for _, t := range tokens {
		at, known := endpoints[t.PersonServer]
		if !known {
			at.url, at.err = p.findRevocation(budget, t.PersonServer)
			endpoints[t.PersonServer] = at
		}
		err := at.err
		if err == nil {
			err = p.revokeAt(budget, at.url, t)
		}
		if err == nil {
			err = p.forget(ctx, t)
		}
		if err != nil {
			left++
			causes[err.Error()] = err
		}
	}
	for _, cause := range causes {
		err = errors.Join(err, cause)
	}
	return left, err
}

// A revocationEndpoint is that of a person server, or why there is none.
type revocationEndpoint struct {
	url string
	err error
}

// findRevocation asks a person server where tokens are revoked. An endpoint that
// is elsewhere is refused: it is not for a person server to have us sign requests
// to others.
func (p *Provider) findRevocation(ctx context.Context, ps string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, revokeEach)
	defer cancel()
	meta, err := p.verifier.issuers.client.Metadata(ctx, ps, string(RolePersonServer))
	if err != nil {
		return "", err
	}
	url, err := meta.Members.String("revocation_endpoint")
	if err != nil {
		return "", fmt.Errorf("agentauth: %s: revocation_endpoint: %w", ps, err)
	}
	if originOf(url) != ps {
		return "", fmt.Errorf("agentauth: %s: its revocation_endpoint is on another origin", ps)
	}
	return url, nil
}

// revokeAt tells a person server of a token, as the agent provider.
func (p *Provider) revokeAt(ctx context.Context, url string, t liveToken) error {
	body, err := json.Marshal(revokeMessage{ID: t.ID, Expires: t.record.Expires.Unix()})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, revokeEach)
	defer cancel()
	answer, err := p.verifier.issuers.client.Post(ctx, egress.Message{
		URL: url, Header: http.Header{"Content-Type": {"application/json"}}, Body: body, Sign: p.signAsServer, MaxAnswer: maxAnswer,
	})
	switch {
	case err != nil:
		return err
	case answer.Status != http.StatusOK && answer.Status != http.StatusAccepted:
		return fmt.Errorf("agentauth: %s: revocation: status %d", t.PersonServer, answer.Status)
	}
	return nil
}

// signAsServer signs a request of the provider in its own right, by scheme
// jwks_uri.
func (p *Provider) signAsServer(r *http.Request) error {
	signer, kid, err := p.keys.signer(r.Context())
	if err != nil {
		return err
	}
	return SignRequest(r, signer, SignOptions{Server: p.issuer, Role: RoleAgentProvider, KeyID: kid, Created: p.host.Hooks.Now()})
}

// forget removes the record of a token, which somebody else may have done.
func (p *Provider) forget(ctx context.Context, t liveToken) error {
	err := p.host.Store.Commit(ctx, store.Delete(t.record))
	if errors.Is(err, store.ErrConflict) {
		return nil
	}
	return err
}
