package agentauth

import "github.com/keywright/keywright"

func (p *Provider) subAgentRoutes() []keywright.Route { return nil }
