// The peer: what a person writes with node-llama-cpp after reading its guide.
//
//     node benchmarks/bare_node.mjs MODEL.gguf PROMPT MAX_TOKENS CONTEXT
//
// `npm install node-llama-cpp` in a folder named by NODE_PATH or above this one comes first: its packages hold
// builds for AVX-512 and for GPUs. Streams the answer to standard output.
import {createRequire} from "node:module";
import {pathToFileURL} from "node:url";

const folder = process.env.NODE_LLAMA_CPP ?? process.cwd();
const found = createRequire(pathToFileURL(`${folder}/`)).resolve("node-llama-cpp");
const {getLlama, LlamaChatSession, LlamaLogLevel} = await import(pathToFileURL(found));

const [path, prompt, maxTokens, context] = process.argv.slice(2);
const llama = await getLlama({build: "never", logLevel: LlamaLogLevel.disabled});
const model = await llama.loadModel({modelPath: path});
const room = await model.createContext({contextSize: Number(context)});
const session = new LlamaChatSession({contextSequence: room.getSequence()});
await session.prompt(prompt, {
    maxTokens: Number(maxTokens),
    temperature: 0,
    onTextChunk: (text) => process.stdout.write(text),
});
process.exit(0);
