package access

// Groups lets tests hold the table against the schema.
var Groups = groups
