"""CrewAI: a crew of one agent with one task."""

import os
import sys

from crewai import LLM, Agent, Crew, Task
from crewai.tools import tool


@tool("forecast")
def forecast(city: str) -> str:
    """Tell the weather in a city."""
    return f"sunny in {city}"


llm = LLM(model=f"ollama/{os.environ['LLMPERF_MODEL']}", max_tokens=64)
agent = Agent(
    role="Writer",
    goal="Answer",
    backstory="Brief.",
    llm=llm,
    tools=[forecast] if "tools" in sys.argv else [],
    max_iter=3,
)
task = Task(description=sys.argv[1], expected_output="One sentence.", agent=agent)
Crew(agents=[agent], tasks=[task]).kickoff()
