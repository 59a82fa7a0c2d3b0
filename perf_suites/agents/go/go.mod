module llmperf/agent

go 1.22
