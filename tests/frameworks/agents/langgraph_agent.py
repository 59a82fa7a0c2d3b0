"""LangGraph with `langchain-ollama`: a graph of one model, or the ready-made agent with a tool."""

import os
import sys

from langchain_core.tools import tool
from langchain_ollama import ChatOllama
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition


@tool
def forecast(city: str) -> str:
    """Tell the weather in a city."""
    return f"sunny in {city}"


with_tools = "tools" in sys.argv
model = ChatOllama(model=os.environ["LLMPERF_MODEL"], num_predict=64)
model = model.bind_tools([forecast]) if with_tools else model
graph = StateGraph(MessagesState)
graph.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
graph.add_edge(START, "model")
if with_tools:
    graph.add_node("tools", ToolNode([forecast]))
    graph.add_conditional_edges("model", tools_condition)
    graph.add_edge("tools", "model")
graph.compile().invoke({"messages": [("user", sys.argv[1])]})
