-- Suggestions in the text and edits by instruction, from `qwen code-fim --lsp`. Edits need Neovim 0.11, the
-- suggestions 0.12 (`vim.lsp.inline_completion`).
--
--     require('qwen').setup({
--       cmd = { 'qwen', 'code-fim', '--lsp' },   -- further arguments: '--model', 'qwen2.5-coder:1.5b'
--       filetypes = nil,                         -- a list; every type that has one if nil
--       options = { mode = 'auto' },             -- the server's initializationOptions
--       accept = '<Tab>',                        -- takes the suggestion; false for no key
--     })
--
-- `:QwenEdit [instruction]` edits the lines of the range, the whole file without one.

local M = {}

local EDIT, ASK = 'qwen.edit', 'qwen/instruction'

local defaults = {
  cmd = { 'qwen', 'code-fim', '--lsp' },
  filetypes = nil,
  options = { mode = 'auto' },
  accept = '<Tab>',
}

--- Suggestions in a buffer, and the key that takes one.
local function attach(client, buffer, accept)
  if not vim.lsp.inline_completion or not client:supports_method('textDocument/inlineCompletion') then
    return
  end
  vim.lsp.inline_completion.enable(true, { bufnr = buffer })
  if accept then
    vim.keymap.set('i', accept, function()
      return vim.lsp.inline_completion.get() and '' or accept
    end, { buffer = buffer, expr = true, desc = 'Take the suggestion of qwen' })
  end
end

function M.setup(given)
  local config = vim.tbl_deep_extend('force', defaults, given or {})
  if vim.fn.executable(config.cmd[1]) == 0 then
    vim.notify(('qwen: %s is not in PATH. Set cmd'):format(config.cmd[1]), vim.log.levels.WARN)
    return
  end
  local capabilities = vim.lsp.protocol.make_client_capabilities()
  capabilities.experimental = { qwenInstruction = true }
  vim.lsp.config('qwen', {
    cmd = config.cmd,
    filetypes = config.filetypes,
    root_markers = { '.git' },
    init_options = config.options,
    capabilities = capabilities,
    handlers = {
      [ASK] = function()
        local words = vim.fn.input('Edit with qwen: ')
        return words ~= '' and words or vim.NIL
      end,
    },
    on_attach = function(client, buffer)
      attach(client, buffer, config.accept)
    end,
  })
  vim.lsp.enable('qwen')
end

--- Edit `lines` (first and last, from 1; the whole file if nil) of the current buffer as `instruction` says.
function M.edit(lines, instruction)
  local buffer = vim.api.nvim_get_current_buf()
  local client = vim.lsp.get_clients({ bufnr = buffer, name = 'qwen' })[1]
  if not client then
    vim.notify('qwen: no server has this buffer. See :checkhealth vim.lsp', vim.log.levels.WARN)
    return
  end
  if not instruction or instruction == '' then
    instruction = vim.fn.input('Edit with qwen: ')
  end
  if vim.trim(instruction) == '' then
    return
  end
  local start = { line = lines and lines[1] - 1 or 0, character = 0 }
  local stop = { line = lines and lines[2] or 0, character = 0 }
  client:request('workspace/executeCommand', {
    command = EDIT,
    arguments = {
      { uri = vim.uri_from_bufnr(buffer), range = { start = start, ['end'] = stop }, instruction = instruction },
    },
  }, function(fault)
    if fault then
      vim.notify('qwen: ' .. fault.message, vim.log.levels.ERROR)
    end
  end, buffer)
end

return M
