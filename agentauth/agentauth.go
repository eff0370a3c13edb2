// Package agentauth lets agents, which are programs with a key pair of their own,
// prove who they are: by HTTP message signatures (RFC 9421) with the field
// Signature-Key, in the profile of AAuth.
//
//   - A [Verifier] authenticates signed requests: its Require is middleware for a
//     host's routes, and its Authenticator one more way to come in beside API keys.
//   - A [Provider] is an agent provider: it enrols agents, refreshes their tokens,
//     publishes keys and has an API to manage agents.
//   - A [Resource] protects routes that people's agents use: it asks for agent,
//     person or auth tokens and issues resource tokens.
//   - A [SelfIssuer] is for a service that is its own agent provider.
//   - [SignRequest] signs a request, for tests and simple clients.
//
// Agents enrol with what an [Admission] wants of them; without one nobody does.
// Private keys stay in a [github.com/keywright/keywright/keystore.KeyStore].
//
// The package implements AAuth (draft-hardt-oauth-aauth-protocol-11), HTTP
// Signature Keys (-09) and AAuth Bootstrap (-02). What older clients do is
// admitted by the flags of [Compat], one by one.
package agentauth
