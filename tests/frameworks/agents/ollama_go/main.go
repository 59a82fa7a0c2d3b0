// Ollama's client for Go, streaming.
package main

import (
	"context"
	"log"
	"os"

	"github.com/ollama/ollama/api"
)

func main() {
	client, err := api.ClientFromEnvironment()
	if err != nil {
		log.Fatal(err)
	}
	var tools api.Tools
	if len(os.Args) > 2 && os.Args[2] == "tools" {
		tool := api.Tool{Type: "function", Function: api.ToolFunction{Name: "forecast"}}
		tool.Function.Parameters.Type = "object"
		tools = append(tools, tool)
	}
	messages := []api.Message{{Role: "user", Content: os.Args[1]}}
	for {
		var calls []api.ToolCall
		request := &api.ChatRequest{
			Model:    os.Getenv("LLMPERF_MODEL"),
			Messages: messages,
			Tools:    tools,
			Options:  map[string]any{"num_predict": 64},
		}
		err := client.Chat(context.Background(), request, func(answer api.ChatResponse) error {
			calls = append(calls, answer.Message.ToolCalls...)
			return nil
		})
		if err != nil {
			log.Fatal(err)
		}
		if len(calls) == 0 {
			return
		}
		messages = append(messages, api.Message{Role: "assistant", ToolCalls: calls})
		messages = append(messages, api.Message{Role: "tool", Content: "sunny"})
	}
}
