package audit

import (
	"net/netip"
	"strings"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/policy"
)

// The version of the schema whose API Activity the events are. Its profile record_integrity
// and object ai_agent are new in it.
const ocsfVersion = "1.9.0"

// Numbers of OCSF: https://schema.ocsf.io/classes/api_activity
const (
	ocsfCategory = 6    // Application Activity
	ocsfClass    = 6003 // API Activity

	activityCreate = 1
	activityRead   = 2
	activityUpdate = 3
	activityDelete = 4
	activityOther  = 99

	statusUnknown = 0
	statusSuccess = 1
	statusFailure = 2

	severityInformational = 1
	severityLow           = 2
	severityMedium        = 3

	actionAllowed      = 1
	actionDenied       = 2
	dispositionAllowed = 1
	dispositionBlocked = 2

	algorithmSHA256    = 3
	encodingHex        = 1
	serializationOther = 99

	typeUser       = 1
	typeOtherAgent = 99
)

// The objects of an event, in the words of the schema.
type (
	ocsfEvent struct {
		ActivityID   int               `json:"activity_id"`
		ActivityName string            `json:"activity_name"`
		CategoryUID  int               `json:"category_uid"`
		ClassUID     int               `json:"class_uid"`
		ClassName    string            `json:"class_name"`
		TypeUID      int               `json:"type_uid"`
		Time         int64             `json:"time"` // milliseconds since 1970
		SeverityID   int               `json:"severity_id"`
		Message      string            `json:"message"`
		StatusID     int               `json:"status_id"`
		Status       string            `json:"status"`
		StatusCode   string            `json:"status_code,omitempty"`
		StatusDetail string            `json:"status_detail,omitempty"`
		ActionID     int               `json:"action_id,omitempty"`
		Disposition  int               `json:"disposition_id,omitempty"`
		Metadata     ocsfMetadata      `json:"metadata"`
		Actor        ocsfActor         `json:"actor"`
		Agent        *ocsfAgent        `json:"ai_agent,omitempty"`
		API          ocsfAPI           `json:"api"`
		Resources    []ocsfResource    `json:"resources,omitempty"`
		Source       ocsfEndpoint      `json:"src_endpoint"`
		Attestations []ocsfAttestation `json:"attestation_list"`
		Unmapped     unmapped          `json:"unmapped"`
	}
	ocsfMetadata struct {
		Version     string      `json:"version"`
		UID         string      `json:"uid"`
		Sequence    uint64      `json:"sequence"`
		Correlation string      `json:"correlation_uid,omitempty"`
		Tenant      string      `json:"tenant_uid"`
		Log         string      `json:"log_name"`
		Profiles    []string    `json:"profiles"`
		Product     ocsfProduct `json:"product"`
	}
	ocsfProduct struct {
		Name    string `json:"name"`
		UID     string `json:"uid,omitempty"`
		Vendor  string `json:"vendor_name"`
		Version string `json:"version,omitempty"`
	}
	ocsfActor struct {
		AppName        string              `json:"app_name"`
		User           *ocsfUser           `json:"user,omitempty"`
		Session        *ocsfUID            `json:"session,omitempty"`
		Authorizations []ocsfAuthorization `json:"authorizations,omitempty"`
	}
	ocsfUser struct {
		UID         string           `json:"uid"`
		TypeID      int              `json:"type_id"`
		Credentials []ocsfCredential `json:"programmatic_credentials,omitempty"`
	}
	ocsfUID struct {
		UID string `json:"uid"`
	}
	ocsfCredential struct {
		UID  string `json:"uid"`
		Type string `json:"type"`
	}
	ocsfAuthorization struct {
		Decision string     `json:"decision"`
		Policy   ocsfPolicy `json:"policy"`
	}
	ocsfPolicy struct {
		UID     string `json:"uid"`
		Version string `json:"version,omitempty"`
		Desc    string `json:"desc,omitempty"`
		Applied bool   `json:"is_applied"`
	}
	ocsfAgent struct {
		UID      string     `json:"uid"`
		Name     string     `json:"name"`
		Instance string     `json:"instance_uid,omitempty"`
		Version  string     `json:"version,omitempty"`
		TypeID   int        `json:"type_id"`
		Type     string     `json:"type"`
		Model    *ocsfModel `json:"ai_model,omitempty"`
	}
	ocsfModel struct {
		Name     string `json:"name"`
		Provider string `json:"ai_provider"`
	}
	ocsfAPI struct {
		Operation string        `json:"operation"`
		Service   ocsfName      `json:"service"`
		Request   ocsfUID       `json:"request"`
		Response  *ocsfResponse `json:"response,omitempty"`
	}
	ocsfName struct {
		Name string `json:"name"`
	}
	ocsfResponse struct {
		Error   string `json:"error,omitempty"`
		Message string `json:"message,omitempty"`
	}
	ocsfResource struct {
		Type string `json:"type"`
		UID  string `json:"uid"`
	}
	ocsfEndpoint struct {
		IP   string `json:"ip,omitempty"`
		Port int    `json:"port,omitempty"`
		UID  string `json:"uid,omitempty"`
		Name string `json:"name,omitempty"`
	}
	ocsfAttestation struct {
		UID         string          `json:"uid"`
		Chain       string          `json:"chain_uid"`
		Authority   string          `json:"authority_uid,omitempty"`
		Fingerprint ocsfFingerprint `json:"fingerprint"`
		Prev        *ocsfPrev       `json:"prev_event,omitempty"`
	}
	ocsfPrev struct {
		UID         string          `json:"uid"`
		Fingerprint ocsfFingerprint `json:"fingerprint"`
	}
	ocsfFingerprint struct {
		AlgorithmID     int    `json:"algorithm_id"`
		EncodingID      int    `json:"encoding_id"`
		SerializationID int    `json:"serialization_id"`
		Serialization   string `json:"serialization"`
		Value           string `json:"value"`
	}
)

// unmapped is what the schema has no words for, in those of policy.Record.
type unmapped struct {
	Delegation []policy.Actor    `json:"delegation,omitempty"` // who asks, and then whom they act for
	Kind       policy.RecordKind `json:"kind"`
	Call       string            `json:"call,omitempty"`
	Path       string            `json:"path,omitempty"`
	Turn       int               `json:"turn,omitempty"`
	Kinds      []string          `json:"kinds,omitempty"`
	Args       string            `json:"args,omitempty"`
	Labels     *abi.Label        `json:"labels,omitempty"`
	Hop        int               `json:"hop,omitempty"`
	PolicySet  string            `json:"policy_set,omitempty"`
	Errors     []string          `json:"errors,omitempty"`
	Candidate  *policy.Decision  `json:"candidate,omitempty"`
	Approval   string            `json:"approval,omitempty"`
	Of         string            `json:"of,omitempty"`
	Outcome    *unmappedOutcome  `json:"outcome,omitempty"`
}

type unmappedOutcome struct {
	Record string     `json:"record"`
	Took   int64      `json:"took_ns,omitempty"`
	Result string     `json:"result,omitempty"`
	Labels *abi.Label `json:"labels,omitempty"`
	Usage  *abi.Usage `json:"usage,omitempty"`
}

// ocsf is an event as OCSF has it.
func (p Product) ocsf(e event) ocsfEvent {
	activity, name := e.activity()
	out := ocsfEvent{
		ActivityID: activity, ActivityName: name, CategoryUID: ocsfCategory, ClassUID: ocsfClass, ClassName: "API Activity",
		TypeUID: 100*ocsfClass + activity, Time: e.Time.UnixMilli(), Message: e.sentence(),
		Metadata: ocsfMetadata{
			Version: ocsfVersion, UID: e.ID, Sequence: e.N, Correlation: e.task(), Tenant: e.Tenant, Log: "audit",
			Profiles: []string{"ai_operation", "record_integrity", "security_control"},
			Product:  ocsfProduct{Name: "Vespiary", UID: p.Host, Vendor: "Vespiary", Version: p.Version},
		},
		Actor: e.ocsfActor(), Agent: e.ocsfAgent(), API: e.ocsfAPI(), Source: e.source(),
		Unmapped: e.unmapped(),
	}
	out.StatusID, out.Status = e.status()
	out.StatusCode, out.StatusDetail = e.code(), e.detail()
	out.SeverityID = e.severity()
	if d := e.Decision; d != nil {
		out.ActionID, out.Disposition = actionDenied, dispositionBlocked
		if d.Allowed {
			out.ActionID, out.Disposition = actionAllowed, dispositionAllowed
		}
	}
	if e.Resource.Type != "" {
		out.Resources = []ocsfResource{{e.Resource.Type, e.Resource.ID}}
	}
	out.Attestations = append(out.Attestations, p.attestation(e.Record))
	if e.outcome != nil {
		out.Attestations = append(out.Attestations, p.attestation(e.outcome))
	}
	return out
}

// attestation is a record's place in its chain. The fingerprint is that of the record, which
// says more than the event.
func (p Product) attestation(r *policy.Record) ocsfAttestation {
	mark := func(hash string) ocsfFingerprint {
		return ocsfFingerprint{
			algorithmSHA256, encodingHex, serializationOther, "Vespiary audit record in the form of RFC 8785", strings.TrimPrefix(hash, algorithm),
		}
	}
	a := ocsfAttestation{UID: r.ID, Chain: r.Tenant + "/" + r.Chain, Authority: p.Host, Fingerprint: mark(r.Hash)}
	if r.Prev != "" {
		a.Prev = &ocsfPrev{recordID(r.Chain, r.N-1), mark(r.Prev)}
	}
	return a
}

func (e event) ocsfActor() ocsfActor {
	a := ocsfActor{AppName: "vespiary"}
	if u := e.user(); u != "" {
		a.User = &ocsfUser{UID: u, TypeID: typeUser}
		if e.Key != "" {
			a.User.Credentials = []ocsfCredential{{e.Key, "API Key"}}
		}
	}
	if e.Session != "" {
		a.Session = &ocsfUID{e.Session}
	}
	if d := e.Decision; d != nil {
		decision := "denied"
		if d.Allowed {
			decision = "allowed"
		}
		for _, c := range d.Policies {
			a.Authorizations = append(a.Authorizations, ocsfAuthorization{decision, ocsfPolicy{c.ID, d.Set, where(c), true}})
		}
		if len(d.Policies) == 0 { // by default
			a.Authorizations = []ocsfAuthorization{{decision, ocsfPolicy{UID: "default", Version: d.Set, Applied: true}}}
		}
	}
	return a
}

func (e event) ocsfAgent() *ocsfAgent {
	for _, a := range e.Who {
		if a.Agent == "" {
			continue
		}
		out := &ocsfAgent{UID: a.Agent, Name: a.Agent, Instance: a.Run, Version: a.Module, TypeID: typeOtherAgent, Type: "Vespiary"}
		if e.Model != "" {
			out.Model = &ocsfModel{e.Model, "Unknown"} // the record has the alias alone
		}
		return out
	}
	return nil
}

func (e event) ocsfAPI() ocsfAPI {
	a := ocsfAPI{Operation: e.operation(), Service: ocsfName{"vespiary"}, Request: ocsfUID{e.ID}}
	if code := e.code(); code != "" {
		a.Response = &ocsfResponse{Message: code}
		if status, _ := e.status(); status == statusFailure {
			a.Response = &ocsfResponse{Error: code, Message: e.detail()}
		}
	}
	return a
}

func (e event) source() ocsfEndpoint {
	if at, err := netip.ParseAddrPort(e.Remote); err == nil {
		return ocsfEndpoint{IP: at.Addr().WithZone("").String(), Port: int(at.Port())}
	}
	if at, err := netip.ParseAddr(e.Remote); err == nil {
		return ocsfEndpoint{IP: at.WithZone("").String()}
	}
	if len(e.Who) > 0 && e.Who[0].Run != "" {
		return ocsfEndpoint{UID: e.Who[0].Run, Name: e.Who[0].Agent}
	}
	return ocsfEndpoint{Name: "vespiary"}
}

func (e event) unmapped() unmapped {
	u := unmapped{
		Delegation: e.Who, Kind: e.Kind, Call: e.Call, Path: e.Path, Turn: e.Turn, Kinds: e.Kinds, Args: e.Args, Labels: e.Labels,
		Approval: e.Approval, Of: e.Of,
	}
	if d := e.Decision; d != nil {
		u.Hop, u.PolicySet, u.Errors, u.Candidate = d.Hop, d.Set, d.Errors, d.Candidate
	}
	if o := e.result(); o != nil {
		u.Outcome = &unmappedOutcome{o.ID, int64(o.Took), o.Result, o.Labels, o.Usage}
	}
	return u
}
