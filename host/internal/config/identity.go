package config

// Identity says whose tokens are taken, besides API keys and the tokens of tasks.
type Identity struct {
	// Audience is the URL by which other hosts know this one. Tokens of peers must be made
	// for it, and its own tokens for them are signed in its name.
	Audience string            `yaml:"audience"`
	Issuers  map[string]Issuer `yaml:"issuers"`
	Peers    map[string]Peer   `yaml:"peers"`
}

// Issuer is an OpenID provider under a name, which becomes part of the names of its users
// and groups: user1 of corp is user1@corp.
type Issuer struct {
	Issuer   string `yaml:"issuer,required"` // URL, to the letter as its tokens have it
	Audience string `yaml:"audience"`        // that tokens must be for; that of Identity when absent
	// Names of claims: of the user's id (sub when absent), of their name for people (name
	// when absent), of their groups (none when absent), and what else policies are told.
	User   string   `yaml:"user"`
	Name   string   `yaml:"name"`
	Groups string   `yaml:"groups"`
	Claims []string `yaml:"claims"`
	Tenant string   `yaml:"tenant"` // of its users; the host's own when absent
	// Algorithms of signatures that are taken: RS, PS and ES with 256, 384 and 512, and
	// EdDSA; all of them when absent.
	Algorithms []string `yaml:"algorithms"`
	// TrustGroups takes the issuer's names of groups as they are: staff instead of
	// staff@corp. It can then put its users into any group of Config.Groups.
	TrustGroups bool `yaml:"trust_groups"`
}

// Peer is another host under a name, whose agents may act here for its users.
type Peer struct {
	Issuer string `yaml:"issuer,required"` // URL: the audience of its own configuration, to the letter
	JWKS   string `yaml:"jwks"`            // URL of its keys; /.well-known/jwks.json of Issuer when absent
	Tenant string `yaml:"tenant"`          // of its users; the host's own when absent
}

// Audit says how the audit is signed and where its newest checkpoint is written, for
// others to keep. The key is made of the host's master key when absent, and the file lies in
// the data folder.
type Audit struct {
	Key        Secret `yaml:"key"`
	Checkpoint string `yaml:"checkpoint"` // file
}
