package audit

import (
	"bufio"
	"errors"
	"iter"
	"net/netip"
	"time"

	"github.com/vespiary/vespiary/policy"
)

// The objects of a CloudTrail event, by its record contents of version 1.11:
// https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
type (
	trailEvent struct {
		EventVersion string          `json:"eventVersion"`
		UserIdentity trailIdentity   `json:"userIdentity"`
		EventTime    string          `json:"eventTime"`
		EventSource  string          `json:"eventSource"`
		EventName    string          `json:"eventName"`
		Region       string          `json:"awsRegion"`
		SourceIP     string          `json:"sourceIPAddress"`
		UserAgent    string          `json:"userAgent"`
		ErrorCode    string          `json:"errorCode,omitempty"`
		ErrorMessage string          `json:"errorMessage,omitempty"`
		Parameters   trailParameters `json:"requestParameters"`
		Response     *trailResponse  `json:"responseElements"`
		RequestID    string          `json:"requestID"`
		EventID      string          `json:"eventID"`
		ReadOnly     bool            `json:"readOnly"`
		Resources    []trailResource `json:"resources,omitempty"`
		EventType    string          `json:"eventType"`
		Management   bool            `json:"managementEvent"`
		Category     string          `json:"eventCategory"`
		Recipient    string          `json:"recipientAccountId"`
		Shared       string          `json:"sharedEventID,omitempty"`
		Additional   trailAdditional `json:"additionalEventData"`
	}
	trailIdentity struct {
		Type       string        `json:"type"`
		Principal  string        `json:"principalId"`
		ARN        string        `json:"arn,omitempty"`
		Account    string        `json:"accountId"`
		AccessKey  string        `json:"accessKeyId,omitempty"`
		UserName   string        `json:"userName,omitempty"`
		Session    *trailSession `json:"sessionContext,omitempty"`
		InvokedBy  string        `json:"invokedBy,omitempty"`
		OnBehalfOf *trailUser    `json:"onBehalfOf,omitempty"`
	}
	trailSession struct {
		Issuer trailIssuer `json:"sessionIssuer"`
	}
	trailIssuer struct {
		Type      string `json:"type"`
		Principal string `json:"principalId"`
		ARN       string `json:"arn"`
		Account   string `json:"accountId"`
		UserName  string `json:"userName"`
	}
	trailUser struct {
		UserID string `json:"userId"`
	}
	trailParameters struct {
		Call     string `json:"call,omitempty"`
		Resource string `json:"resource,omitempty"`
		Args     string `json:"argumentsDigest,omitempty"`
		Session  string `json:"session,omitempty"`
		Path     string `json:"path,omitempty"`
	}
	trailResponse struct {
		Code   string `json:"code"`
		Result string `json:"resultDigest,omitempty"`
	}
	trailResource struct {
		ARN     string `json:"ARN"`
		Account string `json:"accountId"`
		Type    string `json:"type"`
	}
	trailAdditional struct {
		Decision   *policy.Decision `json:"decision,omitempty"`
		Delegation []policy.Actor   `json:"delegation,omitempty"`
		Records    []trailRecord    `json:"records"`
	}
	// trailRecord is where an event came from.
	trailRecord struct {
		ID   string `json:"id"`
		Hash string `json:"hash"`
		Prev string `json:"prev,omitempty"`
	}
)

// exportCloudTrail writes a log file: one object, with an event a line.
func exportCloudTrail(out *bufio.Writer, p Product, found iter.Seq2[policy.Record, error]) (int, error) {
	const head, between, end = `{"Records":[` + "\n", ",", "]}\n"
	_, err := out.WriteString(head)
	first := true
	n, e := exportEvents(found, func(e event) error {
		var err error
		if !first {
			_, err = out.WriteString(between)
		}
		first = false
		return errors.Join(err, writeLine(out, p.cloudTrail(e)))
	})
	if e == nil {
		_, e = out.WriteString(end)
	}
	return n, errors.Join(err, e)
}

// cloudTrail is an event as CloudTrail has it: the run is an assumed role, whose issuer is
// the agent, on behalf of the user.
func (p Product) cloudTrail(e event) trailEvent {
	out := trailEvent{
		EventVersion: "1.11", UserIdentity: e.trailIdentity(), EventTime: e.Time.UTC().Format(time.RFC3339), EventSource: "vespiary",
		EventName: e.operation(), Region: "local", SourceIP: e.trailSource(), UserAgent: "vespiary/" + p.Version,
		Parameters: trailParameters{e.Call, e.resource(), e.Args, e.Session, e.Path},
		RequestID:  e.ID, EventID: e.Tenant + "/" + e.ID, ReadOnly: e.readOnly(), EventType: "AwsApiCall", Management: len(e.Kinds) == 0,
		Category: "Data", Recipient: e.Tenant, Shared: e.Of,
		Additional: trailAdditional{e.Decision, e.Who, []trailRecord{{e.ID, e.Hash, e.Prev}}},
	}
	if out.Management {
		out.Category = "Management"
	}
	if o := e.outcome; o != nil {
		out.Additional.Records = append(out.Additional.Records, trailRecord{o.ID, o.Hash, o.Prev})
	}
	if e.Resource.Type != "" {
		out.Resources = []trailResource{{e.resource(), e.Tenant, "Vespiary::" + e.Resource.Type}}
	}
	if o := e.result(); o != nil {
		out.Response = &trailResponse{o.Code, o.Result}
	}
	if status, _ := e.status(); status == statusFailure {
		out.ErrorCode, out.ErrorMessage = e.code(), e.detail()
		if out.ErrorCode == "denied" {
			out.ErrorCode = "AccessDenied"
		}
	}
	return out
}

func (e event) resource() string {
	if e.Resource.Type == "" {
		return ""
	}
	return e.arn(e.Resource.Type, e.Resource.ID)
}

// arn names a thing in the form that CloudTrail's readers take apart.
func (e event) arn(kind, id string) string {
	return "arn:vespiary:host::" + e.Tenant + ":" + kind + "/" + id
}

func (e event) trailIdentity() trailIdentity {
	user := e.user()
	agent := e.ocsfAgent()
	if agent == nil {
		return trailIdentity{Type: "IAMUser", Principal: user, ARN: e.arn("User", user), Account: e.Tenant, AccessKey: e.Key, UserName: user}
	}
	role := e.arn("Agent", agent.UID)
	out := trailIdentity{
		Type: "AssumedRole", Principal: agent.UID + ":" + agent.Instance, ARN: role + "/" + agent.Instance, Account: e.Tenant, AccessKey: e.Key,
		Session: &trailSession{trailIssuer{"Role", agent.UID, role, e.Tenant, agent.UID}},
	}
	if len(e.Who) > 2 { // another run, before the user
		out.InvokedBy = e.Who[1].Run
	}
	if user != "" {
		out.OnBehalfOf = &trailUser{user}
	}
	return out
}

// trailSource is an address, or who called from within.
func (e event) trailSource() string {
	if at, err := netip.ParseAddrPort(e.Remote); err == nil {
		return at.Addr().String()
	}
	if e.Remote != "" {
		return e.Remote
	}
	return "vespiary"
}
