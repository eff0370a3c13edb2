package main_test

// These are the commands of ChallengeCtl's guide to provisioning API keys, as
// they stand there.
const (
	guideLogin = `# Login as admin
curl -k -c cookies.txt \
  -H "Content-Type: application/json" \
  -d '{"username":"admin","password":"yourpassword"}' \
  https://localhost:8443/api/auth/login
`
	guideCSRF = `# Get CSRF token
CSRF_TOKEN=$(grep csrf_token cookies.txt | awk '{print $7}')
`
	guideCreate = `# Create provisioning key
curl -k -b cookies.txt \
  -X POST \
  -H "Content-Type: application/json" \
  -H "X-CSRF-Token: $CSRF_TOKEN" \
  -d '{
    "key_id": "ci-cd-pipeline",
    "description": "CI/CD runner deployment"
  }' \
  https://localhost:8443/api/provisioning/keys
`
	guideProvision = `# Set your provisioning API key
PROV_KEY="ck_prov_1234567890abcdef1234567890abcdef"

# Provision a runner
curl -k \
  -X POST \
  -H "Content-Type: application/json" \
  -H "Authorization: Bearer $PROV_KEY" \
  -d '{"runner_name":"sdr-station-1"}' \
  https://localhost:8443/api/provisioning/provision
`
	guideBash = `#!/bin/bash
PROV_KEY="ck_prov_abc123..."
SERVER="https://localhost:8443"

# Provision runner
RESPONSE=$(curl -sk \
  -H "Authorization: Bearer $PROV_KEY" \
  -H "Content-Type: application/json" \
  -d '{"runner_name":"my-runner"}' \
  "$SERVER/api/provisioning/provision")

# Extract and save config
echo "$RESPONSE" | python3 -c "
import sys, json
data = json.load(sys.stdin)
print(data['config_yaml'])
" > runner-config.yml

echo "Config saved to runner-config.yml"
`
	guidePython = `import requests

PROV_KEY = "ck_prov_abc123..."
SERVER = "https://localhost:8443"

response = requests.post(
    f"{SERVER}/api/provisioning/provision",
    headers={"Authorization": f"Bearer {PROV_KEY}"},
    json={"runner_name": "my-runner"},
    verify=False
)

data = response.json()

# Save configuration
with open('runner-config.yml', 'w') as f:
    f.write(data['config_yaml'])

print(f"Runner '{data['runner_id']}' provisioned!")
print(f"Config saved to runner-config.yml")
`
	guideTerraform = `      curl -sk \
        -H "Authorization: Bearer ${var.provisioning_key}" \
        -H "Content-Type: application/json" \
        -d '{"runner_name":"${var.runner_name}"}' \
        ${var.server_url}/api/provisioning/provision \
        | jq -r '.config_yaml' > runner-config.yml
`
	guideActions = `          curl -sk \
            -H "Authorization: Bearer $PROV_KEY" \
            -H "Content-Type: application/json" \
            -d "{\"runner_name\":\"${{ github.event.inputs.runner_name }}\"}" \
            "$SERVER/api/provisioning/provision" \
            | jq -r '.config_yaml' > runner-config.yml
`
	guideRotation = `# Disable old key
curl -k -b cookies.txt \
  -H "X-CSRF-Token: $CSRF_TOKEN" \
  -d '{"enabled":false}' \
  https://localhost:8443/api/provisioning/keys/old-key/toggle

# Create new key
curl -k -b cookies.txt \
  -H "X-CSRF-Token: $CSRF_TOKEN" \
  -d '{"key_id":"new-key","description":"Rotated key"}' \
  https://localhost:8443/api/provisioning/keys

# Update your automation with the new key
# ...

# Delete old key after verification
curl -k -b cookies.txt -X DELETE \
  -H "X-CSRF-Token: $CSRF_TOKEN" \
  https://localhost:8443/api/provisioning/keys/old-key
`
	guideMonitoring = `curl -k -b cookies.txt \
  https://localhost:8443/api/provisioning/keys
`
	guideCorrect = `# Correct request format
curl -H "Authorization: Bearer $KEY" \
  -H "Content-Type: application/json" \
  -d '{"runner_name":"my-runner"}' \
  https://localhost:8443/api/provisioning/provision
`
)

// standIn is Python's module requests as far as the guide needs it, for
// machines that do not have it.
const standIn = `import json as j, ssl, urllib.request

class Response:
    def __init__(self, body): self.body = body
    def json(self): return j.loads(self.body)

def post(url, headers, json, verify):
    request = urllib.request.Request(url, j.dumps(json).encode(), {**headers, "Content-Type": "application/json"})
    context = ssl.create_default_context() if verify else ssl._create_unverified_context()
    return Response(urllib.request.urlopen(request, context=context).read())
`
