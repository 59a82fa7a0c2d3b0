"""LangGraph with `langchain-ollama`: an agent that writes, and then revises its text; given a prompt and how often."""

import os
import sys

from langchain_ollama import ChatOllama
from langgraph.graph import END, START, MessagesState, StateGraph

prompt, revisions = sys.argv[1], int(sys.argv[2])
model = ChatOllama(model=os.environ["LLMPERF_MODEL"], num_predict=16, seed=1, temperature=0)
graph = StateGraph(MessagesState)
graph.add_node("write", lambda state: {"messages": [model.invoke(state["messages"])]})
graph.add_node("criticise", lambda _: {"messages": [("user", "Write it again, and in more words.")]})
graph.add_edge(START, "write")
graph.add_conditional_edges("write", lambda state: "criticise" if len(state["messages"]) < 2 * revisions + 2 else END)
graph.add_edge("criticise", "write")
graph.compile().invoke({"messages": [("user", prompt)]})
