"""What space costs where there is much of it, or too little: fragments by the million, a rush on a subnet, a week."""
