func approve(call Call) error {
	return journal.Append(call.Digest)
}
