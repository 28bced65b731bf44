package telemetry

import "go.opentelemetry.io/otel/attribute"

// The names of the GenAI semantic conventions as of version 1.41, the last release of
// the general conventions that has them. They are our own constants because the
// conventions have moved since and are not stable.
const (
	keyOperation    = attribute.Key("gen_ai.operation.name")
	keyProvider     = attribute.Key("gen_ai.provider.name")
	keyAgentName    = attribute.Key("gen_ai.agent.name")
	keyAgentVersion = attribute.Key("gen_ai.agent.version")
	keyConversation = attribute.Key("gen_ai.conversation.id")
	keyModel        = attribute.Key("gen_ai.request.model")
	keyInput        = attribute.Key("gen_ai.usage.input_tokens")
	keyOutput       = attribute.Key("gen_ai.usage.output_tokens")
	keyCacheRead    = attribute.Key("gen_ai.usage.cache_read.input_tokens")
	keyToolName     = attribute.Key("gen_ai.tool.name")
	keyToolCall     = attribute.Key("gen_ai.tool.call.id")
	keyToolType     = attribute.Key("gen_ai.tool.type")
	keyArguments    = attribute.Key("gen_ai.tool.call.arguments")
	keyMessages     = attribute.Key("gen_ai.input.messages")
	keyErrorType    = attribute.Key("error.type")
	keyServer       = attribute.Key("server.address")
	keyServerPort   = attribute.Key("server.port")

	operationAgent = "invoke_agent"
	operationChat  = "chat"
	operationEmbed = "embeddings"
	operationTool  = "execute_tool"
)

// Names of our own, for what the conventions have no word for.
const (
	keyTurn     = attribute.Key("vespiary.turn")
	keyStatus   = attribute.Key("vespiary.turn.status")
	keyPath     = attribute.Key("vespiary.call.path")
	keyAction   = attribute.Key("vespiary.call.action")
	keyResource = attribute.Key("vespiary.call.resource")
	keyAttempt  = attribute.Key("vespiary.call.attempt")
	keyCost     = attribute.Key("vespiary.usage.cost_usd_micros")
	keyRun      = attribute.Key("vespiary.run")
)
