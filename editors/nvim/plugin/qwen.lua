-- Sourced by Neovim at its start: what can be used before `require('qwen').setup()`.

if vim.g.loaded_qwen then
  return
end
vim.g.loaded_qwen = true

vim.api.nvim_create_user_command('QwenEdit', function(command)
  local lines = command.range > 0 and { command.line1, command.line2 } or nil
  require('qwen').edit(lines, command.args)
end, { nargs = '*', range = true, desc = 'Edit the lines of the range, or the whole file, as an instruction says' })
